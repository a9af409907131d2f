package engine

import (
	"fmt"
	"reflect"

	arrow18 "github.com/apache/arrow-go/v18/arrow"
	arrow15 "github.com/apache/arrow/go/v15/arrow"
	array15 "github.com/apache/arrow/go/v15/arrow/array"
	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/arrowipc"
)

// arrowForm says how one Arrow type is encoded. A record or table anywhere inside a value is encoded as an Arrow stream
// of its own, beside the CBOR of the value: the CBOR has a placeholder with an index into the value's list of references,
// where the stream is stored.
type arrowForm struct {
	encode      func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error)
	decode      func(schema *arrow18.Schema, records []arrow18.RecordBatch) (any, error)
	placeholder func(index int) any // returns what the CBOR has in its place
	tag         uint64              // of the placeholder
}

// The Arrow types that have an arrowForm, of versions 18 and 15 of the library.
var (
	record18 = reflect.TypeFor[arrow18.RecordBatch]()
	table18  = reflect.TypeFor[arrow18.Table]()
	record15 = reflect.TypeFor[arrow15.Record]()
	table15  = reflect.TypeFor[arrow15.Table]()
)

// arrowFormOf returns the form of an Arrow type, nil for every other type.
func arrowFormOf(t reflect.Type) *arrowForm {
	switch t {
	case record18:
		return &recordForm18
	case table18:
		return &tableForm18
	case record15:
		return &recordForm15
	case table15:
		return &tableForm15
	}
	return nil
}

// Placeholders of Arrow data. Each implements the interface type that it stands for, so that it can be assigned to the
// field; the decoder makes it from its CBOR tag.
type (
	placeholder       struct{ Index int }
	recordPlaceholder struct {
		arrow18.RecordBatch `cbor:"-"`
		placeholder
	}
	tablePlaceholder struct {
		arrow18.Table `cbor:"-"`
		placeholder
	}
	recordPlaceholder15 struct {
		arrow15.Record `cbor:"-"`
		placeholder
	}
	tablePlaceholder15 struct {
		arrow15.Table `cbor:"-"`
		placeholder
	}
)

func (h placeholder) refIndex() int { return h.Index }

// placeholderTags are the CBOR tags of the placeholders of Arrow data.
var placeholderTags = func() cbor.TagSet {
	set := cbor.NewTagSet()
	for i, t := range []reflect.Type{
		reflect.TypeFor[recordPlaceholder](), reflect.TypeFor[tablePlaceholder](), reflect.TypeFor[recordPlaceholder15](), reflect.TypeFor[tablePlaceholder15](),
	} {
		opts := cbor.TagOptions{DecTag: cbor.DecTagRequired, EncTag: cbor.EncTagRequired}
		if err := set.Add(opts, t, placeholderTag+1+uint64(i)); err != nil {
			panic(err)
		}
	}
	return set
}()

var recordForm18 = arrowForm{
	encode: func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
		r := v.(arrow18.RecordBatch) //nolint:forcetypeassert // arrowFormOf checked the type
		return []arrow18.RecordBatch{r}, r.Schema(), nil
	},
	decode:      func(_ *arrow18.Schema, records []arrow18.RecordBatch) (any, error) { return onlyRecord(records) },
	placeholder: func(i int) any { return recordPlaceholder{placeholder: placeholder{i}} },
	tag:         placeholderTag + 1,
}

var tableForm18 = arrowForm{
	encode: func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
		t := v.(arrow18.Table) //nolint:forcetypeassert // arrowFormOf checked the type
		return arrowipc.RecordsOf(t), t.Schema(), nil
	},
	decode: func(s *arrow18.Schema, records []arrow18.RecordBatch) (any, error) {
		return arrowipc.Table(s, records), nil
	},
	placeholder: func(i int) any { return tablePlaceholder{placeholder: placeholder{i}} },
	tag:         placeholderTag + 2,
}

var recordForm15 = arrowForm{
	encode: func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
		return recordTo18(v.(arrow15.Record)) //nolint:forcetypeassert // arrowFormOf checked the type
	},
	decode: func(s *arrow18.Schema, records []arrow18.RecordBatch) (any, error) {
		r, err := onlyRecord(records)
		if err != nil {
			return nil, err
		}
		_, out, err := recordsTo15(s, r)
		if err != nil {
			return nil, err
		}
		return out[0], nil
	},
	placeholder: func(i int) any { return recordPlaceholder15{placeholder: placeholder{i}} },
	tag:         placeholderTag + 3,
}

var tableForm15 = arrowForm{
	encode: func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
		t := v.(arrow15.Table) //nolint:forcetypeassert // arrowFormOf checked the type
		reader := array15.NewTableReader(t, 0)
		defer reader.Release()
		var pieces []arrow15.Record
		for reader.Next() {
			r := reader.Record()
			r.Retain()
			pieces = append(pieces, r)
		}
		schema, err := arrowipc.Schema18(t.Schema())
		if err != nil {
			return nil, nil, err
		}
		records, err := recordsTo18(schema, pieces...)
		return records, schema, err
	},
	decode: func(s *arrow18.Schema, records []arrow18.RecordBatch) (any, error) {
		schema, out, err := recordsTo15(s, records...)
		if err != nil {
			return nil, err
		}
		return array15.NewTableFromRecords(schema, out), nil
	},
	placeholder: func(i int) any { return tablePlaceholder15{placeholder: placeholder{i}} },
	tag:         placeholderTag + 4,
}

func onlyRecord(records []arrow18.RecordBatch) (arrow18.RecordBatch, error) {
	if len(records) != 1 {
		return nil, fmt.Errorf("got an Arrow stream of %d records, want 1: use a table for any number of records", len(records))
	}
	return records[0], nil
}

func recordTo18(r arrow15.Record) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
	schema, err := arrowipc.Schema18(r.Schema())
	if err != nil {
		return nil, nil, err
	}
	records, err := recordsTo18(schema, r)
	return records, schema, err
}

func recordsTo18(schema *arrow18.Schema, pieces ...arrow15.Record) (records []arrow18.RecordBatch, err error) {
	for _, p := range pieces {
		r, err := arrowipc.Record18(p, schema)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func recordsTo15(s *arrow18.Schema, records ...arrow18.RecordBatch) (schema *arrow15.Schema, out []arrow15.Record, err error) {
	if schema, err = arrowipc.Schema15(s); err != nil {
		return nil, nil, err
	}
	for _, r := range records {
		p, err := arrowipc.Record15(r, schema)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, p)
	}
	return schema, out, nil
}

// encodeValue encodes Arrow data as a value of its own.
func (f *arrowForm) encodeValue(v any) (task.Value, error) {
	records, schema, err := f.encode(v)
	if err != nil {
		return task.Value{}, err
	}
	data, err := arrowipc.Encode(schema, records...)
	return task.Value{Type: task.Arrow, Data: data}, err
}

func extractArrow(at reflect.Value, to *refTable) error {
	if at.IsNil() {
		return nil
	}
	form := arrowFormOf(at.Type())
	v, err := form.encodeValue(at.Interface())
	if err != nil {
		return err
	}
	index, err := to.add(session.Local(v))
	if err == nil {
		at.Set(reflect.ValueOf(form.placeholder(index)))
	}
	return err
}

func restoreArrow(at reflect.Value, from *restorer) error {
	if at.IsNil() {
		return nil
	}
	p, ok := reflect.TypeAssert[interface{ refIndex() int }](at.Elem())
	if !ok {
		return fmt.Errorf("got a %s, want the placeholder of a %s", at.Elem().Type(), at.Type())
	}
	v, err := from.valueAt(p.refIndex())
	if err != nil {
		return err
	}
	return decodeArrow(at, v)
}

// decodeArrow sets at to the Arrow data of v, without a copy: its buffers are v's bytes.
func decodeArrow(at reflect.Value, v *task.Value) error {
	if v.Type != task.Arrow {
		return errOtherType
	}
	schema, records, err := arrowipc.Decode(v.Data)
	if err != nil {
		return err
	}
	out, err := arrowFormOf(at.Type()).decode(schema, records)
	if err == nil {
		at.Set(reflect.ValueOf(out))
	}
	return err
}
