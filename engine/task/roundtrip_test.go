package task_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidemill/tidemill/engine/task"
)

// difference returns how a and b differ, "" if they do not. A nil slice equals an empty one, since the wire has no nil.
// Most often nothing differs, which reflect finds a hundred times faster.
func difference(a, b any) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty())
}

func TestBatchRoundTrip(t *testing.T) {
	var got task.Batch // one for all seeds: fields that are left over from the former one would be found
	for seed := range uint64(200) {
		want := randomBatch(rand.New(rand.NewPCG(seed, 1)))
		data := task.AppendBatch([]byte("before"), want)
		if string(data[:6]) != "before" {
			t.Fatalf("seed %d: AppendBatch after %q: got it changed to %q", seed, "before", data[:6])
		}
		if err := task.DecodeBatch(data[6:], &got); err != nil {
			t.Fatalf("seed %d: got error %v, want none", seed, err)
		}
		if diff := difference(want, &got); diff != "" {
			t.Fatalf("seed %d: (-want +got)\n%s", seed, diff)
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	var got task.Record
	var w task.RecordWriter
	for seed := range uint64(200) {
		want := randomRecord(rand.New(rand.NewPCG(seed, 2)))
		data := encodeRecord(&w, []byte("before"), want)
		if string(data[:6]) != "before" {
			t.Fatalf("seed %d: Append after %q: got it changed to %q", seed, "before", data[:6])
		}
		if err := task.DecodeRecord(data[6:], &got); err != nil {
			t.Fatalf("seed %d: got error %v, want none", seed, err)
		}
		if diff := difference(want, &got); diff != "" {
			t.Fatalf("seed %d: (-want +got)\n%s", seed, diff)
		}
	}
}

// A decoder overwrites what a longer message has left in the slices, and allocates no new ones.
func TestDecodeBatchReusesSlices(t *testing.T) {
	spec := task.Spec{Number: 7, Dispatch: task.Dispatch{Attempt: 3, Losses: 2}, Input: task.Value{Type: task.Text, Data: []byte("old")}}
	full := task.Batch{
		Owner: "old", Class: "gpu", Level: "high",
		Calls: []task.Call{{Func: "old", Retries: 5}, {Func: "older", Retries: 6}},
		Specs: []task.Spec{spec, spec, spec},
	}
	var b task.Batch
	decodeBatch(t, task.AppendBatch(nil, &full), &b)
	calls, specs := &b.Calls[0], &b.Specs[0]
	bare := task.Batch{Calls: []task.Call{{}}, Specs: []task.Spec{{Number: 1, Dispatch: task.Dispatch{Attempt: 1}}}}
	decodeBatch(t, task.AppendBatch(nil, &bare), &b)
	if diff := difference(bare, b); diff != "" {
		t.Errorf("decoded after another batch: (-want +got)\n%s", diff)
	}
	if &b.Calls[0] != calls || &b.Specs[0] != specs {
		t.Errorf("calls and specs: got new slices at %p and %p, want those at %p and %p", &b.Calls[0], &b.Specs[0], calls, specs)
	}
	b = full
	decodeBatch(t, wire(t, keyed{0: 1, 4: []any{keyed{1: ""}}, 5: []any{keyed{1: 1, 6: []byte{}}}}), &b) // without other fields
	if diff := difference(bare, b); diff != "" {
		t.Errorf("decoded after another batch: (-want +got)\n%s", diff)
	}
}

func TestDecodeRecordReusesEntries(t *testing.T) {
	entry := task.Entry{
		Number: 7, State: task.Failed, Dispatch: task.Dispatch{Attempt: 3, Losses: 2}, Ran: time.Second,
		Value: task.Value{Type: task.Text}, Failure: &task.Failure{Kind: task.KindPanic, Message: "old", Stack: "old"},
	}
	var w task.RecordWriter
	var rec task.Record
	full := task.Record{Writer: "old", Owner: "old", Entries: []task.Entry{entry, entry}}
	decodeRecord(t, encodeRecord(&w, nil, &full), &rec)
	first := &rec.Entries[0]
	bare := task.Record{Entries: []task.Entry{{Number: 1, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1}}}}
	decodeRecord(t, encodeRecord(&w, nil, &bare), &rec)
	if diff := difference(bare, rec); diff != "" {
		t.Errorf("decoded after another record: (-want +got)\n%s", diff)
	}
	if &rec.Entries[0] != first {
		t.Errorf("entries: got a new slice at %p, want that at %p", &rec.Entries[0], first)
	}
}

// Decoded bytes have no spare capacity: an append does not write into the next item of the message.
func TestDecodedBytesHaveNoSpareCapacity(t *testing.T) {
	spec := task.Spec{Number: 1, Dispatch: task.Dispatch{Attempt: 1}, Input: task.Value{Data: []byte("12")}}
	var b task.Batch
	decodeBatch(t, task.AppendBatch(nil, &task.Batch{Calls: []task.Call{{}}, Specs: []task.Spec{spec, spec}}), &b)
	if data := b.Specs[0].Input.Data; cap(data) != len(data) {
		t.Errorf("capacity of an input of %d bytes: got %d, want %d", len(data), cap(data), len(data))
	}
}

// The strings of a failure are copies, since a program keeps its errors longer than the message.
func TestFailureIsACopy(t *testing.T) {
	var w task.RecordWriter
	data := encodeRecord(&w, nil, &task.Record{Entries: []task.Entry{{
		Number: 1, State: task.Failed, Dispatch: task.Dispatch{Attempt: 1}, Failure: &task.Failure{Kind: task.KindPanic, Message: "why", Stack: "where"},
	}}})
	var rec task.Record
	decodeRecord(t, data, &rec)
	clear(data)
	if f := rec.Entries[0].Failure; f.Message != "why" || f.Stack != "where" {
		t.Errorf("after the message was cleared: got %q, %q, want why, where", f.Message, f.Stack)
	}
}

// SpecBytes is an upper limit: a session limits the bytes of a batch by it before encoding.
func TestSpecBytes(t *testing.T) {
	largest := task.Spec{
		Number: math.MaxUint64, Call: task.MaxSpecs - 1, Dispatch: task.Dispatch{Attempt: task.MaxAttempts, Losses: task.MaxAttempts - 1},
		Input: task.Value{Type: 255, Data: make([]byte, 1<<16)},
	}
	b := task.Batch{Specs: []task.Spec{largest}}
	one := len(task.AppendBatch(nil, &b))
	b.Specs = append(b.Specs, largest)
	if added := len(task.AppendBatch(nil, &b)) - one - len(largest.Input.Data); added > task.SpecBytes {
		t.Errorf("bytes of a spec without its input: got %d, want at most SpecBytes, %d", added, task.SpecBytes)
	}
}

// Attempts count from 1. A task that never started, such as one that was cancelled before, has attempt 0, and is read back
// with attempt 1.
func TestAttemptZeroIsTheFirst(t *testing.T) {
	var b task.Batch
	decodeBatch(t, task.AppendBatch(nil, &task.Batch{Calls: []task.Call{{}}, Specs: []task.Spec{{Number: 1}}}), &b)
	if got := b.Specs[0].Attempt; got != 1 {
		t.Errorf("attempt 0 of a spec: got %d, want 1", got)
	}
	var w task.RecordWriter
	var rec task.Record
	decodeRecord(t, encodeRecord(&w, nil, &task.Record{Entries: []task.Entry{{Number: 1, State: task.Failed}}}), &rec)
	if got := rec.Entries[0].Attempt; got != 1 {
		t.Errorf("attempt 0 of an entry: got %d, want 1", got)
	}
}

func TestRecordWriterCounts(t *testing.T) {
	var w task.RecordWriter
	for n := range uint64(100) {
		w.Add(&task.Entry{Number: n + 1, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}, Value: task.Value{Data: make([]byte, 10)}})
	}
	if w.Len() != 100 {
		t.Errorf("Len after 100 entries: got %d, want 100", w.Len())
	}
	if size := len(w.Append(nil, strings.Repeat("w", 64), strings.Repeat("o", 64))); size > w.Size() {
		t.Errorf("Size: got %d, want at least the record's %d bytes", w.Size(), size)
	}
	if w.Reset(); w.Len() != 0 {
		t.Errorf("Len after Reset: got %d, want 0", w.Len())
	}
	w.Add(&task.Entry{Number: 5, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1}})
	var rec task.Record
	decodeRecord(t, w.Append(nil, "w", "o"), &rec)
	if len(rec.Entries) != 1 || rec.Entries[0].Number != 5 {
		t.Errorf("entries after Reset: got %+v, want task 5 alone", rec.Entries)
	}
}

func TestStates(t *testing.T) {
	words := map[task.State]string{
		task.OK: "ok", task.Failed: "failed", task.Errored: "errored", task.Lost: "lost", task.Refused: "refused",
		task.Cancelled: "cancelled", task.Started: "started", task.Returned: "returned", 0: "state 0", task.Returned + 1: "state 9", 255: "state 255",
	}
	for state, word := range words {
		if got := state.String(); got != word {
			t.Errorf("state %d: got %q, want %q", uint8(state), got, word)
		}
		if got, want := state.Final(), state == task.OK || state == task.Failed || state == task.Cancelled; got != want {
			t.Errorf("%s is final: got %v, want %v", word, got, want)
		}
	}
}

func decodeBatch(t testing.TB, data []byte, b *task.Batch) {
	t.Helper()
	if err := task.DecodeBatch(data, b); err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

func decodeRecord(t testing.TB, data []byte, rec *task.Record) {
	t.Helper()
	if err := task.DecodeRecord(data, rec); err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

func encodeRecord(w *task.RecordWriter, dst []byte, rec *task.Record) []byte {
	w.Reset()
	for i := range rec.Entries {
		w.Add(&rec.Entries[i])
	}
	return w.Append(dst, rec.Writer, rec.Owner)
}

func randomBatch(r *rand.Rand) *task.Batch {
	b := &task.Batch{Owner: randomText(r), Class: task.Class(randomText(r)), Level: task.Level(randomText(r))}
	if r.IntN(2) == 0 {
		b.Scope = fmt.Sprint("s-", r.IntN(100))
	}
	for range 1 + r.IntN(5) {
		b.Calls = append(b.Calls, task.Call{Func: randomText(r), Retries: randomBelow(r, task.MaxAttempts), Timeout: time.Duration(randomNumber(r) >> 1)})
	}
	for range 1 + randomBelow(r, 400) {
		b.Specs = append(b.Specs, task.Spec{
			Number: max(1, randomNumber(r)), Call: r.IntN(len(b.Calls)),
			Dispatch: task.Dispatch{Attempt: int32(1 + randomBelow(r, task.MaxAttempts)), Losses: int32(randomBelow(r, task.MaxAttempts))},
			Input:    randomValue(r), Digest: randomDigest(r),
		})
	}
	return b
}

func randomRecord(r *rand.Rand) *task.Record {
	rec := &task.Record{Writer: randomText(r), Owner: randomText(r)}
	for range randomBelow(r, 400) {
		e := task.Entry{
			Number: max(1, randomNumber(r)), State: task.OK + task.State(r.IntN(int(task.Returned))),
			Dispatch: task.Dispatch{Attempt: int32(1 + randomBelow(r, task.MaxAttempts)), Losses: int32(randomBelow(r, task.MaxAttempts))},
			Ran:      time.Duration(randomNumber(r) >> 1), Digest: randomDigest(r),
		}
		switch {
		case e.State == task.OK:
			e.Value = randomValue(r)
		case r.IntN(4) > 0:
			e.Failure = &task.Failure{Kind: task.Kind(r.IntN(256)), Message: randomText(r), Stack: randomText(r), Causes: randomCauses(r)}
			e.Failure.Errors, e.Failure.NonRetryable, e.Unbegun = randomErrors(r), r.IntN(2) == 0, r.IntN(2) == 0
		}
		rec.Entries = append(rec.Entries, e)
	}
	return rec
}

func randomValue(r *rand.Rand) task.Value {
	v := task.Value{Type: task.ValueType(r.IntN(7)), Data: make([]byte, randomBelow(r, 100))}
	for i := range v.Data {
		v.Data[i] = byte(r.Uint32())
	}
	if r.IntN(4) == 0 {
		v.Data = nil
		v.External = &task.External{Object: &task.Object{Scope: randomText(r), ID: [32]byte{byte(r.Uint32()), 31: 7}, Size: int64(randomNumber(r) >> 1)}}
	}
	for r.IntN(3) == 0 {
		if v.External == nil {
			v.External = &task.External{}
		}
		v.External.Refs = append(v.External.Refs, randomValue(r))
	}
	return v
}

func randomCauses(r *rand.Rand) (causes []task.Cause) {
	for range r.IntN(task.MaxCauses) {
		causes = append(causes, task.Cause{Func: randomText(r), Number: randomNumber(r), Kind: task.Kind(r.IntN(256)), Message: randomText(r)})
	}
	return causes
}

func randomErrors(r *rand.Rand) (infos []task.ErrorInfo) {
	for range r.IntN(task.MaxErrors) {
		i := task.ErrorInfo{Code: randomText(r), Type: randomText(r)}
		if r.IntN(2) == 0 {
			i.Details = fmt.Appendf(nil, "%d", r.IntN(1000))
		}
		infos = append(infos, i)
	}
	return infos
}

func randomText(r *rand.Rand) string {
	return strings.Repeat(fmt.Sprint("ö", r.IntN(100)), randomBelow(r, 40))
}

// randomNumber returns numbers whose length in bits is evenly distributed, so that each length of a head is likely.
func randomNumber(r *rand.Rand) uint64 { return r.Uint64() >> r.IntN(65) }

func randomBelow(r *rand.Rand, n int) int { return int(randomNumber(r) % uint64(n)) }

func randomDigest(r *rand.Rand) (d task.Digest) {
	if r.IntN(2) == 0 {
		d[r.IntN(len(d))] = byte(1 + r.IntN(255))
	}
	return d
}

func randomFailure(r *rand.Rand) *task.Failure {
	return &task.Failure{
		Kind: task.Kind(randomBelow(r, 256)), Func: randomText(r), Task: task.ID{Owner: randomText(r), Number: randomNumber(r)},
		Attempt: randomBelow(r, task.MaxAttempts), Node: randomText(r), Message: randomText(r), Stack: randomText(r), Causes: randomCauses(r),
		Errors: randomErrors(r), NonRetryable: r.IntN(2) == 0,
	}
}

// A failure in the place of a value is sent with its function, task, attempt and node.
func TestFailureRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		want := randomFailure(rand.New(rand.NewPCG(seed, 7)))
		data := task.AppendFailure([]byte("before"), want)
		got, err := task.DecodeFailure(data[6:])
		if err != nil {
			t.Fatalf("seed %d: got error %v, want none", seed, err)
		}
		if diff := difference(want, got); diff != "" {
			t.Fatalf("seed %d: (-want +got)\n%s", seed, diff)
		}
		for cut := range len(data) - 6 {
			if _, err := task.DecodeFailure(data[6 : 6+cut]); err == nil {
				t.Fatalf("seed %d: the first %d of %d bytes: got no error, want one", seed, cut, len(data)-6)
			}
		}
	}
}

// A record has room for an entry only while all its entries together have no more references than a reader accepts.
func TestRecordsHaveAtMostMaxRefs(t *testing.T) {
	entry := task.Entry{State: task.OK, Value: task.Value{External: &task.External{Refs: make([]task.Value, task.MaxRefs/2)}}}
	var w task.RecordWriter
	for i, want := range []bool{true, true, false} {
		if got := w.Fits(&entry, 1<<30); got != want {
			t.Errorf("entry %d of %d references: got Fits %v, want %v", i, task.MaxRefs/2, got, want)
		}
		entry.Number++
		w.Add(&entry)
	}
	if err := task.DecodeRecord(w.Append(nil, "n", "o"), &task.Record{}); !errors.Is(err, task.ErrTooLarge) {
		t.Errorf("a record of %d references: got error %v, want %v", task.MaxRefs*3/2, err, task.ErrTooLarge)
	}
	w.Reset()
	if !w.Fits(&entry, 1<<30) || w.Fits(&entry, 1) {
		t.Errorf("an empty record: got Fits %v and, with room for one byte, %v; want true and false", w.Fits(&entry, 1<<30), w.Fits(&entry, 1))
	}
}
