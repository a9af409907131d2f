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

// A part is data inside a value that travels beside it, since it has an encoding of its own: Arrow records and
// tables, of either version. It takes a place in the value's list of references, and is there when the value is.
type part struct {
	encode func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error)
	decode func(schema *arrow18.Schema, records []arrow18.RecordBatch) (any, error)
	hole   func(index int) any // takes its place in the encoded value
}

// The types that travel as parts.
var (
	record18 = reflect.TypeFor[arrow18.RecordBatch]()
	table18  = reflect.TypeFor[arrow18.Table]()
	record15 = reflect.TypeFor[arrow15.Record]()
	table15  = reflect.TypeFor[arrow15.Table]()
)

// partOf returns how values of a type travel as parts, nil if they do not.
func partOf(t reflect.Type) *part {
	switch t {
	case record18:
		return &recordPart18
	case table18:
		return &tablePart18
	case record15:
		return &recordPart15
	case table15:
		return &tablePart15
	}
	return nil
}

// Holes of parts. Each is a value of the field's own type, as which the decoder makes it by its tag.
type (
	hole18     struct{ Index int }
	recordHole struct {
		arrow18.RecordBatch `cbor:"-"`
		hole18
	}
	tableHole struct {
		arrow18.Table `cbor:"-"`
		hole18
	}
	recordHole15 struct {
		arrow15.Record `cbor:"-"`
		hole18
	}
	tableHole15 struct {
		arrow15.Table `cbor:"-"`
		hole18
	}
)

func (h hole18) partIndex() int { return h.Index }

// holes are the tags of what takes the place of parts.
var holes = func() cbor.TagSet {
	set := cbor.NewTagSet()
	for i, t := range []reflect.Type{
		reflect.TypeFor[recordHole](), reflect.TypeFor[tableHole](), reflect.TypeFor[recordHole15](), reflect.TypeFor[tableHole15](),
	} {
		opts := cbor.TagOptions{DecTag: cbor.DecTagRequired, EncTag: cbor.EncTagRequired}
		if err := set.Add(opts, t, holeTag+1+uint64(i)); err != nil {
			panic(err)
		}
	}
	return set
}()

var recordPart18 = part{
	encode: func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
		r := v.(arrow18.RecordBatch) //nolint:forcetypeassert // partOf says so
		return []arrow18.RecordBatch{r}, r.Schema(), nil
	},
	decode: func(_ *arrow18.Schema, records []arrow18.RecordBatch) (any, error) { return single(records) },
	hole:   func(i int) any { return recordHole{hole18: hole18{i}} },
}

var tablePart18 = part{
	encode: func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
		t := v.(arrow18.Table) //nolint:forcetypeassert // partOf says so
		return arrowipc.RecordsOf(t), t.Schema(), nil
	},
	decode: func(s *arrow18.Schema, records []arrow18.RecordBatch) (any, error) {
		return arrowipc.Table(s, records), nil
	},
	hole: func(i int) any { return tableHole{hole18: hole18{i}} },
}

var recordPart15 = part{
	encode: func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
		return to18(v.(arrow15.Record)) //nolint:forcetypeassert // partOf says so
	},
	decode: func(s *arrow18.Schema, records []arrow18.RecordBatch) (any, error) {
		r, err := single(records)
		if err != nil {
			return nil, err
		}
		_, out, err := to15(s, r)
		if err != nil {
			return nil, err
		}
		return out[0], nil
	},
	hole: func(i int) any { return recordHole15{hole18: hole18{i}} },
}

var tablePart15 = part{
	encode: func(v any) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
		t := v.(arrow15.Table) //nolint:forcetypeassert // partOf says so
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
		records, err := under18(schema, pieces...)
		return records, schema, err
	},
	decode: func(s *arrow18.Schema, records []arrow18.RecordBatch) (any, error) {
		schema, out, err := to15(s, records...)
		if err != nil {
			return nil, err
		}
		return array15.NewTableFromRecords(schema, out), nil
	},
	hole: func(i int) any { return tableHole15{hole18: hole18{i}} },
}

func single(records []arrow18.RecordBatch) (arrow18.RecordBatch, error) {
	if len(records) != 1 {
		return nil, fmt.Errorf("a stream of %d records where one was expected: a table has any number", len(records))
	}
	return records[0], nil
}

func to18(r arrow15.Record) ([]arrow18.RecordBatch, *arrow18.Schema, error) {
	schema, err := arrowipc.Schema18(r.Schema())
	if err != nil {
		return nil, nil, err
	}
	records, err := under18(schema, r)
	return records, schema, err
}

func under18(schema *arrow18.Schema, pieces ...arrow15.Record) (records []arrow18.RecordBatch, err error) {
	for _, p := range pieces {
		r, err := arrowipc.Record18(p, schema)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

func to15(s *arrow18.Schema, records ...arrow18.RecordBatch) (schema *arrow15.Schema, out []arrow15.Record, err error) {
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

// value encodes Arrow data as a value of its own.
func (p *part) value(v any) (task.Value, error) {
	records, schema, err := p.encode(v)
	if err != nil {
		return task.Value{}, err
	}
	data, err := arrowipc.Encode(schema, records...)
	return task.Value{Type: task.Arrow, Data: data}, err
}

func liftPart(place reflect.Value, to *parts) error {
	if place.IsNil() {
		return nil
	}
	p := partOf(place.Type())
	v, err := p.value(place.Interface())
	if err != nil {
		return err
	}
	place.Set(reflect.ValueOf(p.hole(to.add(session.Local(v)))))
	return nil
}

func fillPart(place reflect.Value, from *filler) error {
	if place.IsNil() {
		return nil
	}
	hole, ok := reflect.TypeAssert[interface{ partIndex() int }](place.Elem())
	if !ok {
		return fmt.Errorf("a %s where a part was expected", place.Elem().Type())
	}
	v, err := from.part(hole.partIndex())
	if err != nil {
		return err
	}
	return decodePart(place, v)
}

// decodePart reads Arrow data into its place: its buffers are parts of the value's bytes.
func decodePart(place reflect.Value, v *task.Value) error {
	if v.Type != task.Arrow {
		return errOtherType
	}
	schema, records, err := arrowipc.Decode(v.Data)
	if err != nil {
		return err
	}
	out, err := partOf(place.Type()).decode(schema, records)
	if err == nil {
		place.Set(reflect.ValueOf(out))
	}
	return err
}
