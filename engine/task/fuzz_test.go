package task_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/task"
)

// A decoded message is encoded to one that decodes to the same, and from then on to the same bytes.
func FuzzDecodeBatch(f *testing.F) {
	for _, b := range goldenBatches { // the same as in testdata, see TestGolden
		f.Add(task.AppendBatch(nil, b))
	}
	f.Add(wire(f, with(goodBatch, keyed{99: []any{1, keyed{2: cbor.Tag{Number: 3, Content: 4.5}}}})))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b, again task.Batch
		if task.DecodeBatch(data, &b) != nil {
			return
		}
		encoded := task.AppendBatch(nil, &b)
		decodeBatch(t, encoded, &again)
		if diff := difference(b, again); diff != "" {
			t.Errorf("decoded, encoded and decoded again: (-want +got)\n%s", diff)
		}
		if err := cbor.Wellformed(encoded); err != nil {
			t.Errorf("well-formed CBOR: got error %v, want none: %x", err, encoded)
		}
		if twice := task.AppendBatch(nil, &again); !bytes.Equal(encoded, twice) {
			t.Errorf("encoded again: got %x, want %x", twice, encoded)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	var w task.RecordWriter
	for _, rec := range goldenRecords { // the same as in testdata, see TestGolden
		f.Add(encodeRecord(&w, nil, rec))
	}
	f.Add(wire(f, record(5, []any{with(goodEntry, keyed{99: []any{1, keyed{2: cbor.Tag{Number: 3, Content: 4.5}}}})})))
	f.Fuzz(func(t *testing.T, data []byte) {
		var w task.RecordWriter
		var rec, again task.Record
		if task.DecodeRecord(data, &rec) != nil {
			return
		}
		encoded := encodeRecord(&w, nil, &rec)
		decodeRecord(t, encoded, &again)
		for i := range rec.Entries {
			asWritten(&rec.Entries[i])
		}
		if diff := difference(rec, again); diff != "" {
			t.Errorf("decoded, encoded and decoded again: (-want +got)\n%s", diff)
		}
		if err := cbor.Wellformed(encoded); err != nil {
			t.Errorf("well-formed CBOR: got error %v, want none: %x", err, encoded)
		}
		if twice := encodeRecord(&w, nil, &again); !bytes.Equal(encoded, twice) {
			t.Errorf("encoded again: got %x, want %x", twice, encoded)
		}
	})
}

// asWritten changes an entry to what a writer would have written: readers accept more.
func asWritten(e *task.Entry) {
	if e.State != task.OK {
		e.Value = task.Value{Type: e.Value.Type}
	}
	if f := e.Failure; f != nil {
		f.Message, f.Stack = task.Clip(f.Message, task.MaxText), task.Clip(f.Stack, task.MaxText)
		for i := range f.Causes {
			f.Causes[i].Message = task.Clip(f.Causes[i].Message, task.MaxCauseText)
		}
	}
}

func FuzzDecodeValue(f *testing.F) {
	for seed := range uint64(8) {
		v := randomValue(rand.New(rand.NewPCG(seed, 6)))
		f.Add(task.AppendValue(nil, &v))
	}
	f.Add(bytes.Repeat([]byte{0xa1, 4, 0x81}, 100)) // deep
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := task.DecodeValue(data)
		if err != nil {
			return
		}
		encoded := task.AppendValue(nil, &v)
		again, err := task.DecodeValue(encoded)
		if err != nil {
			t.Fatalf("decode again: got error %v, want none", err)
		}
		if diff := difference(v, again); diff != "" {
			t.Errorf("decoded, encoded and decoded again: (-want +got)\n%s", diff)
		}
		if twice := task.AppendValue(nil, &again); !bytes.Equal(encoded, twice) {
			t.Errorf("encoded again: got %x, want %x", twice, encoded)
		}
	})
}

// A parsed class is sorted and bounded, and ClassOf returns the same class for it.
func FuzzClass(f *testing.F) {
	for _, class := range []string{
		"cpu", "cpu=4", "gpu", "gpu=0_5", "cpu_only_node", "cpu=4-gpu=2", "memory=8Gi-ssd", "cpu=0-gpu", "cpu=0_25",
		"", "cpu=0", "ssd-memory=8Gi", "gpu=0", "memory=1024Mi", "cpu=4e0", "gpu=nan", "cpu=1125899906842_624", "memory=1024Ti",
	} {
		f.Add(class)
	}
	f.Fuzz(func(t *testing.T, class string) {
		r, err := task.Class(class).Parse()
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(r, func(a, b task.Amount) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) }) {
			t.Errorf("%q: got %v, want it sorted", class, r)
		}
		written, rounded, err := task.ClassOf(r, r)
		if err != nil || string(written) != class || !slices.Equal(r, rounded) {
			t.Errorf("ClassOf(%v): got %q, %v, %v, want %q", r, written, rounded, err, class)
		}
		if !r.Has(task.CPU) || !r.Fits(r) {
			t.Errorf("%q: got %v, want resources with CPUs that fit into themselves", class, r)
		}
	})
}

func FuzzDecodeFailure(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(task.AppendFailure(nil, randomFailure(rand.New(rand.NewPCG(seed, 7)))))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		failure, err := task.DecodeFailure(data)
		if err != nil {
			return
		}
		_ = failure.Error()
		first := task.AppendFailure(nil, failure)
		again, err := task.DecodeFailure(first)
		if err != nil {
			t.Fatalf("decode again: got error %v, want none", err)
		}
		if second := task.AppendFailure(nil, again); !bytes.Equal(first, second) {
			t.Errorf("encoded again: got %x, want %x", second, first)
		}
	})
}
