//go:build !race

package task_test

import (
	"testing"

	"github.com/tidemill/tidemill/engine/task"
)

const guardedTasks = 1000

func checkAllocs(t *testing.T, what string, most float64, f func()) {
	t.Helper()
	f() // slices grow to their final size
	if allocs := testing.AllocsPerRun(20, f); allocs > most {
		t.Errorf("%s with %d tasks: got %v allocations, want at most %v", what, guardedTasks, allocs, most)
	}
}

func TestAllocBatch(t *testing.T) {
	b, buf := smallBatch(guardedTasks), make([]byte, 0, 1<<20)
	checkAllocs(t, "AppendBatch", 0, func() { buf = task.AppendBatch(buf[:0], b) })
	var got task.Batch
	checkAllocs(t, "DecodeBatch", 0, func() {
		if err := task.DecodeBatch(buf, &got); err != nil {
			t.Fatalf("got error %v, want none", err)
		}
	})
}

func TestAllocRecord(t *testing.T) {
	rec, buf := smallRecord(guardedTasks), make([]byte, 0, 1<<20)
	var w task.RecordWriter
	checkAllocs(t, "RecordWriter", 0, func() { buf = encodeRecord(&w, buf[:0], rec) })
	var got task.Record
	checkAllocs(t, "DecodeRecord", 0, func() {
		if err := task.DecodeRecord(buf, &got); err != nil {
			t.Fatalf("got error %v, want none", err)
		}
	})
}

// A new writer grows by doubling, in some dozens of allocations for any number of entries.
func TestAllocRecordWriterGrows(t *testing.T) {
	rec := smallRecord(guardedTasks)
	checkAllocs(t, "a new RecordWriter", 40, func() {
		var w task.RecordWriter
		for i := range rec.Entries {
			w.Add(&rec.Entries[i])
		}
	})
}

// Skipping an unknown key does not allocate either.
func TestAllocUnknownKeys(t *testing.T) {
	data := wire(t, with(goodBatch, keyed{99: make([]any, guardedTasks)}))
	var got task.Batch
	checkAllocs(t, "DecodeBatch with an unknown key", 0, func() {
		if err := task.DecodeBatch(data, &got); err != nil {
			t.Fatalf("got error %v, want none", err)
		}
	})
}
