package arrowipc

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// needs is how many nodes, buffers and counts of variadic buffers a record must have for its schema: Arrow reads
// them by their places, and does not look how many there are.
type needs struct{ nodes, buffers, views int }

func (n *needs) add(m needs) {
	n.nodes += m.nodes
	n.buffers += m.buffers
	n.views += m.views
}

// wants says what records, and dictionaries by their IDs, must have.
type wants struct {
	record       needs
	dictionaries map[int64]needs
}

// wantsOf walks a schema and its metadata, which is known to be whole, side by side: the one knows types, the other
// the IDs of dictionaries.
func wantsOf(s *arrow.Schema, metadata []byte) (w wants, err error) {
	defer recovered(&err)
	v := &verifier{data: metadata}
	root, err := v.follow(0)
	if err != nil {
		return w, err
	}
	w.dictionaries = map[int64]needs{}
	header := v.at(root, 2)
	fields := v.listIn(header+v.offset(header), 1)
	if len(fields) != s.NumFields() {
		return w, fmt.Errorf("arrowipc: %d fields, and the schema has %d", len(fields), s.NumFields())
	}
	for i, at := range fields {
		n, err := w.of(v, at, s.Field(i).Type)
		if err != nil {
			return w, err
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
			if at = v.at(at+v.offset(at), 0); at != 0 {
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
		return n, fmt.Errorf("arrowipc: %s with %d children", t, len(children))
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

// buffersOf returns how many buffers an array has, without those of its children and variadic ones.
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

// offset returns how far the offset at a place leads.
func (v *verifier) offset(at int) int {
	to, err := v.follow(at)
	if err != nil {
		panic(err)
	}
	return to - at
}

// listIn returns where the tables are of the list in a slot.
func (v *verifier) listIn(pos, slot int) (out []int) {
	at := v.at(pos, slot)
	if at == 0 {
		return nil
	}
	first := at + v.offset(at) + 4
	for i := range v.count(pos, slot) {
		out = append(out, first+4*i+v.offset(first+4*i))
	}
	return out
}

// fits checks that a record, or a dictionary, has all that Arrow will look for. Its metadata is known to be whole.
func (w *wants) fits(metadata []byte) error {
	v := &verifier{data: metadata}
	root, err := v.follow(0)
	if err != nil {
		return err
	}
	header := v.at(root, 2)
	batch, want := header+v.offset(header), w.record
	switch v.data[v.at(root, 1)] {
	case 2:
		id := int64(0)
		if at := v.at(batch, 0); at != 0 {
			id = v.long(at)
		}
		var known bool
		if want, known = w.dictionaries[id]; !known {
			return fmt.Errorf("arrowipc: a dictionary %d that the schema does not have", id)
		}
		data := v.at(batch, 1)
		batch = data + v.offset(data)
	case 3:
	default:
		return fmt.Errorf("arrowipc: a second schema")
	}
	variadic := int64(0)
	_ = v.each(batch, 4, 8, func(at int) bool { variadic += v.long(at); return true })
	have := needs{v.count(batch, 1), v.count(batch, 2), v.count(batch, 4)}
	want.buffers += int(variadic)
	if have.nodes < want.nodes || have.buffers < want.buffers || have.views < want.views {
		return fmt.Errorf("arrowipc: a record with %d nodes, %d buffers, %d views, and its schema wants %d, %d, %d",
			have.nodes, have.buffers, have.views, want.nodes, want.buffers, want.views)
	}
	return nil
}
