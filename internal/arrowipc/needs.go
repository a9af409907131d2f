package arrowipc

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// needs is how many nodes, buffers and variadic buffer counts a record must have for its schema. Arrow reads them by index,
// without checking how many there are.
type needs struct{ nodes, buffers, views int }

func (n *needs) add(m needs) {
	n.nodes += m.nodes
	n.buffers += m.buffers
	n.views += m.views
}

// wants is what each record must have, and each dictionary, by its ID.
type wants struct {
	record       needs
	dictionaries map[int64]needs
}

// wantsOf returns what a schema needs, from the schema, which has the types, and its verified metadata, which has the IDs of
// dictionaries.
func wantsOf(s *arrow.Schema, metadata []byte) (w *wants, err error) {
	defer recovered(&err)
	v := &verifier{data: metadata}
	w = &wants{dictionaries: map[int64]needs{}}
	fields := v.listIn(v.to(v.at(v.to(0), 2)), 1)
	if len(fields) != s.NumFields() {
		return nil, fmt.Errorf("arrowipc: %d fields in the metadata, %d in the schema", len(fields), s.NumFields())
	}
	for i, at := range fields {
		n, err := w.of(v, at, s.Field(i).Type)
		if err != nil {
			return nil, err
		}
		w.record.add(n)
	}
	return w, nil
}

func (w *wants) of(v *verifier, field int, t arrow.DataType) (needs, error) {
	if e, ok := t.(arrow.ExtensionType); ok {
		t = e.StorageType()
	}
	if d, ok := t.(*arrow.DictionaryType); ok {
		values, err := w.of(v, field, d.ValueType)
		if err != nil {
			return needs{}, err
		}
		id := int64(0)
		if at := v.at(field, 4); at != 0 {
			if at = v.at(v.to(at), 0); at != 0 {
				id = v.long(at)
			}
		}
		w.dictionaries[id] = values
		return needs{nodes: 1, buffers: 2}, nil
	}
	n := needs{nodes: 1, buffers: buffersOf(t)}
	if t.ID() == arrow.STRING_VIEW || t.ID() == arrow.BINARY_VIEW {
		n.views = 1
	}
	nested, ok := t.(arrow.NestedType)
	if !ok {
		return n, nil
	}
	children := v.listIn(field, 5)
	if len(children) != len(nested.Fields()) {
		return n, fmt.Errorf("arrowipc: %s with %d children, want %d", t, len(children), len(nested.Fields()))
	}
	for i, at := range children {
		c, err := w.of(v, at, nested.Fields()[i].Type)
		if err != nil {
			return n, err
		}
		n.add(c)
	}
	return n, nil
}

// buffersOf returns how many buffers an array of this type has, without variadic ones and those of its children.
func buffersOf(t arrow.DataType) int {
	switch t.ID() {
	case arrow.NULL, arrow.RUN_END_ENCODED:
		return 0
	case arrow.STRUCT, arrow.FIXED_SIZE_LIST, arrow.SPARSE_UNION:
		return 1
	case arrow.STRING, arrow.BINARY, arrow.LARGE_STRING, arrow.LARGE_BINARY, arrow.LIST_VIEW, arrow.LARGE_LIST_VIEW:
		return 3
	default:
		return 2
	}
}

// listIn returns the positions of the tables of the list in a slot.
func (v *verifier) listIn(pos, slot int) (out []int) {
	_ = v.each(pos, slot, 4, func(at int) bool { out = append(out, v.to(at)); return true })
	return out
}

// fits checks that a record or a dictionary has all that Arrow will read. Its metadata was verified.
func (w *wants) fits(metadata []byte) error {
	v := &verifier{data: metadata}
	root := v.to(0)
	batch, want := v.to(v.at(root, 2)), w.record
	switch v.data[v.at(root, 1)] {
	case 2:
		id := int64(0)
		if at := v.at(batch, 0); at != 0 {
			id = v.long(at)
		}
		var known bool
		if want, known = w.dictionaries[id]; !known {
			return fmt.Errorf("arrowipc: dictionary %d is not in the schema", id)
		}
		batch = v.to(v.at(batch, 1))
	case 3:
	default:
		return errors.New("arrowipc: a second schema, want records and dictionaries")
	}
	variadic := int64(0)
	_ = v.each(batch, 4, 8, func(at int) bool { variadic += v.long(at); return true })
	have := needs{v.count(batch, 1), v.count(batch, 2), v.count(batch, 4)}
	want.buffers += int(variadic)
	if have.nodes < want.nodes || have.buffers < want.buffers || have.views < want.views {
		return fmt.Errorf("arrowipc: a record with %d nodes, %d buffers, %d views, want at least %d, %d, %d for its schema",
			have.nodes, have.buffers, have.views, want.nodes, want.buffers, want.views)
	}
	return nil
}
