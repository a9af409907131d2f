package arrowipc

import (
	"bytes"
	"fmt"

	arrow18 "github.com/apache/arrow-go/v18/arrow"
	array18 "github.com/apache/arrow-go/v18/arrow/array"
	ipc18 "github.com/apache/arrow-go/v18/arrow/ipc"
	memory18 "github.com/apache/arrow-go/v18/arrow/memory"
	arrow15 "github.com/apache/arrow/go/v15/arrow"
	array15 "github.com/apache/arrow/go/v15/arrow/array"
	ipc15 "github.com/apache/arrow/go/v15/arrow/ipc"
	memory15 "github.com/apache/arrow/go/v15/arrow/memory"
)

// The two versions of Arrow have different types for the same memory layout. A schema is converted by writing and reading a
// stream without records, of some hundred bytes; a record by wrapping each of its buffers, so that the buffer of the other
// version is retained until the new one is released.

// Schema15 returns the schema as one of arrow v15. A type that v15 does not have is an error; an extension type that is not
// registered there becomes its storage type.
func Schema15(s *arrow18.Schema) (out *arrow15.Schema, err error) {
	defer recovered(&err)
	var b bytes.Buffer
	if err := ipc18.NewWriter(&b, ipc18.WithSchema(s)).Close(); err != nil {
		return nil, fmt.Errorf("arrowipc: convert a schema to arrow v15: %w", err)
	}
	r, err := ipc15.NewReader(&b)
	if err != nil {
		return nil, fmt.Errorf("arrowipc: convert a schema to arrow v15: %w", err)
	}
	defer r.Release()
	return r.Schema(), nil
}

// Schema18 returns the schema as one of arrow v18.
func Schema18(s *arrow15.Schema) (out *arrow18.Schema, err error) {
	defer recovered(&err)
	var b bytes.Buffer
	if err := ipc15.NewWriter(&b, ipc15.WithSchema(s)).Close(); err != nil {
		return nil, fmt.Errorf("arrowipc: convert a schema from arrow v15: %w", err)
	}
	r, err := ipc18.NewReader(&b)
	if err != nil {
		return nil, fmt.Errorf("arrowipc: convert a schema from arrow v15: %w", err)
	}
	defer r.Release()
	return r.Schema(), nil
}

// keeper18 is an allocator of v15 for a buffer that wraps one of v18: freeing the one releases the other. It allocates
// nothing.
type keeper18 struct{ b *memory18.Buffer }

func (keeper18) Allocate(int) []byte           { panic("arrowipc: read-only") }
func (keeper18) Reallocate(int, []byte) []byte { panic("arrowipc: read-only") }
func (k keeper18) Free([]byte)                 { k.b.Release() }

// keeper15 is the same for a buffer of v18 that wraps one of v15.
type keeper15 struct{ b *memory15.Buffer }

func (keeper15) Allocate(int) []byte           { panic("arrowipc: read-only") }
func (keeper15) Reallocate(int, []byte) []byte { panic("arrowipc: read-only") }
func (k keeper15) Free([]byte)                 { k.b.Release() }

// Record15 returns the record as one of arrow v15, with a schema from Schema15. It copies no buffer.
func Record15(r arrow18.RecordBatch, s *arrow15.Schema) (out arrow15.Record, err error) {
	defer recovered(&err)
	columns := make([]arrow15.Array, r.NumCols())
	for i := range columns {
		d, err := data15(r.Column(i).Data(), s.Field(i).Type)
		if err != nil {
			return nil, err
		}
		columns[i] = array15.MakeFromData(d)
		d.Release()
		defer columns[i].Release()
	}
	return array15.NewRecord(s, columns, r.NumRows()), nil
}

// Record18 returns the record as one of arrow v18, with a schema from Schema18. It copies no buffer.
func Record18(r arrow15.Record, s *arrow18.Schema) (out arrow18.RecordBatch, err error) {
	defer recovered(&err)
	columns := make([]arrow18.Array, r.NumCols())
	for i := range columns {
		d, err := data18(r.Column(i).Data(), s.Field(i).Type)
		if err != nil {
			return nil, err
		}
		columns[i] = array18.MakeFromData(d)
		d.Release()
		defer columns[i].Release()
	}
	return array18.NewRecordBatch(s, columns, r.NumRows()), nil
}

func data15(d arrow18.ArrayData, t arrow15.DataType) (*array15.Data, error) {
	buffers := make([]*memory15.Buffer, len(d.Buffers()))
	for i, b := range d.Buffers() {
		if b != nil {
			b.Retain()
			buffers[i] = memory15.NewBufferWithAllocator(b.Bytes(), keeper18{b})
			defer buffers[i].Release()
		}
	}
	stored := t
	if e, ok := t.(arrow15.ExtensionType); ok {
		stored = e.StorageType()
	}
	var children []arrow15.ArrayData
	if len(d.Children()) > 0 {
		nested, ok := stored.(arrow15.NestedType)
		if !ok {
			return nil, fmt.Errorf("arrowipc: %s has children", stored)
		}
		for i, c := range d.Children() {
			child, err := data15(c, nested.Fields()[i].Type)
			if err != nil {
				return nil, err
			}
			defer child.Release()
			children = append(children, child)
		}
	}
	if dt, ok := stored.(*arrow15.DictionaryType); ok {
		dictionary, err := data15(d.Dictionary(), dt.ValueType)
		if err != nil {
			return nil, err
		}
		defer dictionary.Release()
		return array15.NewDataWithDictionary(t, d.Len(), buffers, d.NullN(), d.Offset(), dictionary), nil
	}
	return array15.NewData(t, d.Len(), buffers, children, d.NullN(), d.Offset()), nil
}

func data18(d arrow15.ArrayData, t arrow18.DataType) (*array18.Data, error) {
	buffers := make([]*memory18.Buffer, len(d.Buffers()))
	for i, b := range d.Buffers() {
		if b != nil {
			b.Retain()
			buffers[i] = memory18.NewBufferWithAllocator(b.Bytes(), keeper15{b})
			defer buffers[i].Release()
		}
	}
	stored := t
	if e, ok := t.(arrow18.ExtensionType); ok {
		stored = e.StorageType()
	}
	var children []arrow18.ArrayData
	if len(d.Children()) > 0 {
		nested, ok := stored.(arrow18.NestedType)
		if !ok {
			return nil, fmt.Errorf("arrowipc: %s has children", stored)
		}
		for i, c := range d.Children() {
			child, err := data18(c, nested.Fields()[i].Type)
			if err != nil {
				return nil, err
			}
			defer child.Release()
			children = append(children, child)
		}
	}
	if dt, ok := stored.(*arrow18.DictionaryType); ok {
		dictionary, err := data18(d.Dictionary(), dt.ValueType)
		if err != nil {
			return nil, err
		}
		defer dictionary.Release()
		return array18.NewDataWithDictionary(t, d.Len(), buffers, d.NullN(), d.Offset(), dictionary), nil
	}
	return array18.NewData(t, d.Len(), buffers, children, d.NullN(), d.Offset()), nil
}
