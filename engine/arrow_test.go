package engine_test

import (
	"context"
	"strings"
	"testing"
	"unsafe"

	arrow18 "github.com/apache/arrow-go/v18/arrow"
	array18 "github.com/apache/arrow-go/v18/arrow/array"
	memory18 "github.com/apache/arrow-go/v18/arrow/memory"
	arrow15 "github.com/apache/arrow/go/v15/arrow"
	array15 "github.com/apache/arrow/go/v15/arrow/array"
	memory15 "github.com/apache/arrow/go/v15/arrow/memory"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

func record18(rows int) arrow18.RecordBatch {
	schema := arrow18.NewSchema([]arrow18.Field{{Name: "n", Type: arrow18.PrimitiveTypes.Int64}, {Name: "s", Type: arrow18.BinaryTypes.String}}, nil)
	b := array18.NewRecordBuilder(memory18.NewGoAllocator(), schema)
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array18.Int64Builder).Append(int64(i))
		b.Field(1).(*array18.StringBuilder).Append(strings.Repeat("x", i%7))
	}
	return b.NewRecordBatch()
}

func record15(rows int) arrow15.Record {
	schema := arrow15.NewSchema([]arrow15.Field{{Name: "n", Type: arrow15.PrimitiveTypes.Int64}}, nil)
	b := array15.NewRecordBuilder(memory15.NewGoAllocator(), schema)
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array15.Int64Builder).Append(int64(i))
	}
	return b.NewRecord()
}

func sum18(r arrow18.RecordBatch) (total int64) {
	for _, n := range r.Column(0).(*array18.Int64).Int64Values() {
		total += n
	}
	return total
}

func sum15(r arrow15.Record) (total int64) {
	for _, n := range r.Column(0).(*array15.Int64).Int64Values() {
		total += n
	}
	return total
}

// query has Arrow data of both versions in fields.
type query struct {
	Name  string
	Rows  arrow18.RecordBatch
	Whole arrow18.Table
	Old   arrow15.Record
	Older arrow15.Table
	None  arrow18.RecordBatch
	Many  []arrow18.RecordBatch
	Ref   engine.Ref[arrow18.RecordBatch]
}

// Arrow records and tables of both versions of the library can be inputs, results, fields, and values for Put.
func TestArrow(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	const rows = 30_000
	const want = rows * (rows - 1) / 2
	double := engine.NewFunc("double", func(_ context.Context, r arrow18.RecordBatch) (arrow18.Table, error) {
		return array18.NewTableFromRecords(r.Schema(), []arrow18.RecordBatch{r, r}), nil
	}, in)
	table, err := double.Submit(ctx, record18(rows)).Get(ctx)
	if err != nil || table.NumRows() != 2*rows {
		t.Fatalf("a record as input and a table as result: got %v, error %v; want %d rows", table, err, 2*rows)
	}
	old := engine.NewFunc("old", func(_ context.Context, r arrow15.Record) (arrow15.Record, error) { return r.NewSlice(0, 10), nil }, in)
	if r, err := old.Submit(ctx, record15(rows)).Get(ctx); err != nil || r.NumRows() != 10 || sum15(r) != 45 {
		t.Errorf("a record of version 15: got %v, error %v; want 10 rows with sum 45", r, err)
	}
	add := engine.NewFunc("add", func(ctx context.Context, q query) (map[string]int64, error) {
		ref, err := q.Ref.Get(ctx)
		if err != nil || q.None != nil {
			return nil, err
		}
		return map[string]int64{
			"rows": sum18(q.Rows), "whole": q.Whole.NumRows(), "old": sum15(q.Old), "older": q.Older.NumRows(),
			"many": sum18(q.Many[0]) + sum18(q.Many[1]), "ref": sum18(ref),
		}, nil
	}, in)
	older := array15.NewTableFromRecords(record15(1).Schema(), []arrow15.Record{record15(5), record15(6)})
	got, err := add.Submit(ctx, query{
		Name: "q", Rows: record18(rows), Whole: table, Old: record15(rows), Older: older,
		Many: []arrow18.RecordBatch{record18(3), record18(rows)}, Ref: engine.Put(ctx, record18(rows)),
	}).Get(ctx)
	if err != nil || got["rows"] != want || got["whole"] != 2*rows || got["old"] != want || got["older"] != 11 || got["many"] != want+3 || got["ref"] != want {
		t.Errorf("fields: got %v, error %v; want rows, old and ref %d, whole %d, older 11, many %d", got, err, want, 2*rows, want+3)
	}
	if r, err := engine.Put(ctx, arrow18.RecordBatch(nil)).Get(ctx); r != nil || err != nil {
		t.Errorf("a nil record: got %v, error %v; want nil", r, err)
	}
}

// Get does not copy Arrow data: two calls return the bytes that are in the store.
func TestArrowIsNotCopied(t *testing.T) {
	_, ctx := own(t, tidemill.Config{})
	ref := engine.Put(ctx, record18(100_000))
	var at [2]unsafe.Pointer
	for i := range at {
		r, err := ref.Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		at[i] = unsafe.Pointer(unsafe.SliceData(r.Column(0).(*array18.Int64).Int64Values()))
	}
	if at[0] != at[1] {
		t.Error("version 18: two Gets returned different memory, want the same")
	}
	old := engine.Put(ctx, record15(100_000))
	for i := range at {
		r, err := old.Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		at[i] = unsafe.Pointer(unsafe.SliceData(r.Column(0).(*array15.Int64).Int64Values()))
	}
	if at[0] != at[1] {
		t.Error("version 15: two Gets returned different memory, want the same")
	}
}

// If an input has another type than the function, the error names both types.
func TestErrorNamesBothTypes(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("f", func(_ context.Context, r arrow18.RecordBatch) (int64, error) { return r.NumRows(), nil }, in)
	other := engine.NewFunc("f", func(_ context.Context, n []int) (int, error) { return 0, nil }, engine.In(engine.NewRegistry()))
	_, err := other.Submit(ctx, []int{1}, engine.Retries(0)).Get(ctx)
	contains(t, failure(t, err).Message, "CBOR array", "arrow.RecordBatch")
	if _, err := f.Submit(ctx, record18(3)).Get(ctx); err != nil {
		t.Errorf("an input of the right type: %v", err)
	}
}
