package arrowipc_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tidemill/tidemill/internal/arrowipc"
)

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "i", Type: arrow.PrimitiveTypes.Int64},
	{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "dict", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, Nullable: true},
	{Name: "f16", Type: arrow.FixedWidthTypes.Float16},
	{Name: "view", Type: arrow.BinaryTypes.StringView},
	{Name: "ree", Type: arrow.RunEndEncodedOf(arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64)},
	{Name: "st", Type: arrow.StructOf(arrow.Field{Name: "a", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64)}, arrow.Field{Name: "b", Type: arrow.FixedWidthTypes.Boolean})},
	{Name: "map", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32)},
	{Name: "dec", Type: &arrow.Decimal128Type{Precision: 20, Scale: 2}},
	{Name: "u", Type: arrow.SparseUnionOf([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int32}, {Name: "y", Type: arrow.PrimitiveTypes.Float64}}, []arrow.UnionTypeCode{0, 1})},
	{Name: "ts", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}},
	{Name: "fix", Type: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Uint8)},
}, nil)

// record returns a record with arrays of every layout.
func record(rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%3 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("row ", i))
		}
		_ = b.Field(2).(*array.BinaryDictionaryBuilder).AppendString(fmt.Sprint("k", i%3))
		b.Field(3).(*array.Float16Builder).Append(float16.New(float32(i)))
		b.Field(4).(*array.StringViewBuilder).Append(fmt.Sprintf("a string longer than twelve bytes %d", i))
		r := b.Field(5).(*array.RunEndEncodedBuilder)
		r.Append(1)
		r.ValueBuilder().(*array.Int64Builder).Append(int64(i))
		s := b.Field(6).(*array.StructBuilder)
		s.Append(true)
		l := s.FieldBuilder(0).(*array.ListBuilder)
		l.Append(true)
		l.ValueBuilder().(*array.Int64Builder).Append(int64(i))
		s.FieldBuilder(1).(*array.BooleanBuilder).Append(i%2 == 0)
		m := b.Field(7).(*array.MapBuilder)
		m.Append(true)
		m.KeyBuilder().(*array.StringBuilder).Append("k")
		m.ItemBuilder().(*array.Int32Builder).Append(int32(i))
		b.Field(8).AppendEmptyValue()
		u := b.Field(9).(*array.SparseUnionBuilder)
		u.Append(0)
		u.Child(0).(*array.Int32Builder).Append(int32(i))
		u.Child(1).AppendEmptyValue()
		b.Field(10).(*array.TimestampBuilder).Append(arrow.Timestamp(i))
		f := b.Field(11).(*array.FixedSizeListBuilder)
		f.Append(true)
		f.ValueBuilder().(*array.Uint8Builder).AppendValues([]uint8{1, 2, byte(i)}, nil)
	}
	return b.NewRecordBatch()
}

func encode(t testing.TB, records ...arrow.RecordBatch) []byte {
	t.Helper()
	data, err := arrowipc.Encode(schema, records...)
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	return data
}

// Records of all layouts are read as they were written, and no buffer is copied: all are parts of the stream.
func TestRoundTrip(t *testing.T) {
	want := record(20)
	data := encode(t, want, want.NewSlice(3, 9), record(0))
	_, records, err := arrowipc.Decode(data)
	if err != nil || len(records) != 3 {
		t.Fatalf("decode: got %d records, %v, want 3, nil", len(records), err)
	}
	if !array.RecordEqual(records[0], want) || !array.RecordEqual(records[1], want.NewSlice(3, 9)) || records[2].NumRows() != 0 {
		t.Errorf("decode: got %v, want %v, its rows 3 to 8, and no rows", records, want)
	}
	in, out := 0, 0
	for _, c := range records[0].Columns() {
		walk(c.Data(), func(b []byte) {
			if within(b, data) {
				in++
			} else {
				out++
			}
		})
	}
	if in < 20 || out > 0 {
		t.Errorf("buffers: got %d in the stream and %d elsewhere, want at least 20 and none", in, out)
	}
}

func walk(d arrow.ArrayData, f func([]byte)) {
	for _, b := range d.Buffers() {
		if b != nil && b.Len() > 0 {
			f(b.Bytes())
		}
	}
	for _, c := range d.Children() {
		walk(c, f)
	}
	if x, ok := d.Dictionary().(*array.Data); ok && x != nil {
		walk(x, f)
	}
}

func within(b, data []byte) bool {
	at, from := uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	return at >= from && at+uintptr(len(b)) <= from+uintptr(len(data))
}

// A stream at any address can be read.
func TestUnaligned(t *testing.T) {
	data := encode(t, record(5))
	for shift := range 8 {
		moved := append(make([]byte, shift, shift+len(data)), data...)[shift:]
		if _, records, err := arrowipc.Decode(moved); err != nil || !array.RecordEqual(records[0], record(5)) {
			t.Errorf("shifted by %d bytes: got error %v or another record, want the same record", shift, err)
		}
	}
}

// Records are converted to arrow v15 and back without a copy.
func TestBridge(t *testing.T) {
	want := record(20)
	for _, r := range []arrow.RecordBatch{want, want.NewSlice(3, 9)} {
		s15, err := arrowipc.Schema15(schema)
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		r15, err := arrowipc.Record15(r, s15)
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		s18, err := arrowipc.Schema18(s15)
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		back, err := arrowipc.Record18(r15, s18)
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		if !array.RecordEqual(r, back) {
			t.Errorf("converted to v15 and back: got %v, want %v", back, r)
		}
		a := r.Column(0).Data().Buffers()[1].Bytes()
		if !within(back.Column(0).Data().Buffers()[1].Bytes(), a) {
			t.Error("the buffer of a converted column: got a copy, want the same memory")
		}
		back.Release()
		r15.Release()
	}
	if _, err := arrowipc.Schema15(arrow.NewSchema([]arrow.Field{{Name: "x", Type: &arrow.Decimal32Type{Precision: 5}}}, nil)); err == nil {
		t.Error("a decimal32 in v15, which does not have it: got no error, want one")
	}
}

// Streams that could crash the process are errors: with lengths beyond the metadata, a body beyond the stream, or compression.
func TestHostileStreams(t *testing.T) {
	bomb := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, 0xffffffff), 0x48001b00)
	var zipped bytes.Buffer
	w := ipc.NewWriter(&zipped, ipc.WithSchema(schema), ipc.WithZstd())
	if err := w.Write(record(50)); err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	_ = w.Close()
	for name, data := range map[string][]byte{"bomb": bomb, "compressed": zipped.Bytes(), "empty": nil, "text": []byte("ARROW1 no stream")} {
		if _, _, err := arrowipc.Decode(data); err == nil {
			t.Errorf("decode %s: got no error, want one", name)
		} else if name == "compressed" && !strings.Contains(err.Error(), "compressed") {
			t.Errorf("decode %s: got error %v, want one that names the compression", name, err)
		}
	}
}

// Any bytes are decoded or lead to an error, with memory bounded by their length.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, record(3)))
	f.Add(encode(f, record(0)))
	f.Add(encode(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, records, err := arrowipc.Decode(data)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20+uint64(len(data))*256 {
			t.Fatalf("decode %d bytes: got %d bytes allocated, want at most %d", len(data), used, 64<<20+len(data)*256)
		}
		if err != nil {
			return
		}
		for _, r := range records {
			_ = r.NumRows()
		}
	})
}
