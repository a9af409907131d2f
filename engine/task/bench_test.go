package task_test

import (
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

const benchTasks = 512

func BenchmarkEncodeBatch(b *testing.B) {
	batch := smallBatch(benchTasks)
	var buf []byte
	measure(b, func() { buf = task.AppendBatch(buf[:0], batch) })
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeBatch(b *testing.B) {
	data := task.AppendBatch(nil, smallBatch(benchTasks))
	var batch task.Batch
	measure(b, func() {
		if err := task.DecodeBatch(data, &batch); err != nil {
			b.Fatalf("got error %v, want none", err)
		}
	})
	b.SetBytes(int64(len(data)))
}

func BenchmarkEncodeRecord(b *testing.B) {
	rec := smallRecord(benchTasks)
	var w task.RecordWriter
	var buf []byte
	measure(b, func() { buf = encodeRecord(&w, buf[:0], rec) })
	b.SetBytes(int64(len(buf)))
}

func BenchmarkDecodeRecord(b *testing.B) {
	data := encodeRecord(new(task.RecordWriter), nil, smallRecord(benchTasks))
	var rec task.Record
	measure(b, func() {
		if err := task.DecodeRecord(data, &rec); err != nil {
			b.Fatalf("got error %v, want none", err)
		}
	})
	b.SetBytes(int64(len(data)))
}

// measure runs f, which handles a message of benchTasks tasks.
func measure(b *testing.B, f func()) {
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchTasks, "ns/task")
}

// smallBatch has n tasks of one function, with inputs of 8 bytes.
func smallBatch(n int) *task.Batch {
	b := &task.Batch{
		Owner: "kestrel-4f2a", Class: "cpu", Level: task.Normal,
		Calls: []task.Call{{Func: "square", Retries: 2}}, Specs: make([]task.Spec, n),
	}
	for i := range b.Specs {
		b.Specs[i] = task.Spec{Number: uint64(100_000 + i), Dispatch: task.Dispatch{Attempt: 1}, Input: task.Value{Data: []byte("12345678")}}
	}
	return b
}

// smallRecord has n results of 8 bytes.
func smallRecord(n int) *task.Record {
	rec := &task.Record{Writer: "node-1", Owner: "kestrel-4f2a", Entries: make([]task.Entry, n)}
	for i := range rec.Entries {
		rec.Entries[i] = task.Entry{
			Number: uint64(100_000 + i), State: task.OK, Dispatch: task.Dispatch{Attempt: 1}, Ran: 1500 * time.Nanosecond,
			Value: task.Value{Data: []byte("12345678")},
		}
	}
	return rec
}
