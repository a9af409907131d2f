package task_test

import (
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

// difference returns how a and b differ, "" if they do not. A nil slice is an empty one: the wire has no
// nil. Most often nothing differs, and reflect is a hundred times as quick at finding that.
func difference(a, b any) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty())
}

func TestBatchRoundTrip(t *testing.T) {
	var got task.Batch // one for all seeds, so that what is left of one would show in the next
	for seed := range uint64(200) {
		want := randomBatch(rand.New(rand.NewPCG(seed, 1)))
		data := task.AppendBatch([]byte("before"), want)
		if string(data[:6]) != "before" {
			t.Fatalf("seed %d: AppendBatch changed what stood before", seed)
		}
		if err := task.DecodeBatch(data[6:], &got); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := difference(want, &got); diff != "" {
			t.Fatalf("seed %d: (-encoded +decoded)\n%s", seed, diff)
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
			t.Fatalf("seed %d: Append changed what stood before", seed)
		}
		if err := task.DecodeRecord(data[6:], &got); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := difference(want, &got); diff != "" {
			t.Fatalf("seed %d: (-encoded +decoded)\n%s", seed, diff)
		}
	}
}

// A decoder writes over what a longer message left in the slices, and allocates no new ones.
func TestDecodeUsesSlicesAgain(t *testing.T) {
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
		t.Errorf("the batch decoded before shows: (-want +got)\n%s", diff)
	}
	if &b.Calls[0] != calls || &b.Specs[0] != specs {
		t.Error("DecodeBatch did not use its slices again")
	}
	b = full
	decodeBatch(t, wire(t, keyed{0: 1, 4: []any{keyed{1: ""}}, 5: []any{keyed{1: 1, 6: []byte{}}}}), &b) // all else is left out
	if diff := difference(bare, b); diff != "" {
		t.Errorf("the batch decoded before shows: (-want +got)\n%s", diff)
	}
}

func TestDecodeUsesEntriesAgain(t *testing.T) {
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
		t.Errorf("the record decoded before shows: (-want +got)\n%s", diff)
	}
	if &rec.Entries[0] != first {
		t.Error("DecodeRecord did not use its slice again")
	}
}

// What a decoder hands out ends where the message's next item begins: an append cannot write there.
func TestDecodedBytesHaveNoRoom(t *testing.T) {
	spec := task.Spec{Number: 1, Dispatch: task.Dispatch{Attempt: 1}, Input: task.Value{Data: []byte("12")}}
	var b task.Batch
	decodeBatch(t, task.AppendBatch(nil, &task.Batch{Calls: []task.Call{{}}, Specs: []task.Spec{spec, spec}}), &b)
	if data := b.Specs[0].Input.Data; cap(data) != len(data) {
		t.Errorf("an input of %d bytes has room for %d", len(data), cap(data))
	}
}

// A failure's strings outlive the message: a program keeps its errors.
func TestFailureIsACopy(t *testing.T) {
	var w task.RecordWriter
	data := encodeRecord(&w, nil, &task.Record{Entries: []task.Entry{{
		Number: 1, State: task.Failed, Dispatch: task.Dispatch{Attempt: 1}, Failure: &task.Failure{Kind: task.KindPanic, Message: "why", Stack: "where"},
	}}})
	var rec task.Record
	decodeRecord(t, data, &rec)
	clear(data)
	if f := rec.Entries[0].Failure; f.Message != "why" || f.Stack != "where" {
		t.Errorf("the failure changed with the message: %q, %q", f.Message, f.Stack)
	}
}

// An outbox counts the bytes of a batch by this bound before it encodes.
func TestSpecBytes(t *testing.T) {
	largest := task.Spec{
		Number: math.MaxUint64, Call: task.MaxSpecs - 1, Dispatch: task.Dispatch{Attempt: task.MaxAttempts, Losses: task.MaxAttempts - 1},
		Input: task.Value{Type: 255, Data: make([]byte, 1<<16)},
	}
	b := task.Batch{Specs: []task.Spec{largest}}
	one := len(task.AppendBatch(nil, &b))
	b.Specs = append(b.Specs, largest)
	if added := len(task.AppendBatch(nil, &b)) - one - len(largest.Input.Data); added > task.SpecBytes {
		t.Errorf("a spec takes %d bytes more than its input, and SpecBytes is %d", added, task.SpecBytes)
	}
}

// Attempts count from 1. What never began (a task cancelled before) must still be readable.
func TestAttemptZeroIsTheFirst(t *testing.T) {
	var b task.Batch
	decodeBatch(t, task.AppendBatch(nil, &task.Batch{Calls: []task.Call{{}}, Specs: []task.Spec{{Number: 1}}}), &b)
	if got := b.Specs[0].Attempt; got != 1 {
		t.Errorf("a spec's attempt 0 came as %d", got)
	}
	var w task.RecordWriter
	var rec task.Record
	decodeRecord(t, encodeRecord(&w, nil, &task.Record{Entries: []task.Entry{{Number: 1, State: task.Failed}}}), &rec)
	if got := rec.Entries[0].Attempt; got != 1 {
		t.Errorf("an entry's attempt 0 came as %d", got)
	}
}

func TestRecordWriterCounts(t *testing.T) {
	var w task.RecordWriter
	for n := range uint64(100) {
		w.Add(&task.Entry{Number: n + 1, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}, Value: task.Value{Data: make([]byte, 10)}})
	}
	if w.Len() != 100 {
		t.Errorf("Len is %d after 100 entries", w.Len())
	}
	if size := len(w.Append(nil, strings.Repeat("w", 64), strings.Repeat("o", 64))); size > w.Size() {
		t.Errorf("Size says %d, and the record has %d bytes", w.Size(), size)
	}
	if w.Reset(); w.Len() != 0 {
		t.Errorf("Len is %d after Reset", w.Len())
	}
	w.Add(&task.Entry{Number: 5, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1}})
	var rec task.Record
	decodeRecord(t, w.Append(nil, "w", "o"), &rec)
	if len(rec.Entries) != 1 || rec.Entries[0].Number != 5 {
		t.Errorf("after Reset the record has %+v", rec.Entries)
	}
}

func TestStates(t *testing.T) {
	words := map[task.State]string{
		task.OK: "ok", task.Failed: "failed", task.Errored: "errored", task.Lost: "lost", task.Refused: "refused",
		task.Cancelled: "cancelled", task.Started: "started", task.Returned: "returned", 0: "state 0", task.Returned + 1: "state 9", 255: "state 255",
	}
	for state, word := range words {
		if got := state.String(); got != word {
			t.Errorf("state %d is %q, want %q", uint8(state), got, word)
		}
		if got, want := state.Final(), state == task.OK || state == task.Failed || state == task.Cancelled; got != want {
			t.Errorf("%s: Final is %v", word, got)
		}
	}
}

func decodeBatch(t testing.TB, data []byte, b *task.Batch) {
	t.Helper()
	if err := task.DecodeBatch(data, b); err != nil {
		t.Fatal(err)
	}
}

func decodeRecord(t testing.TB, data []byte, rec *task.Record) {
	t.Helper()
	if err := task.DecodeRecord(data, rec); err != nil {
		t.Fatal(err)
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

func randomText(r *rand.Rand) string {
	return strings.Repeat(fmt.Sprint("ö", r.IntN(100)), randomBelow(r, 40))
}

// randomNumber has as many bits as not: each width of a head is as likely as another.
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
	}
}

// A failure that takes the place of a value has all its names with it.
func TestFailureRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		want := randomFailure(rand.New(rand.NewPCG(seed, 7)))
		data := task.AppendFailure([]byte("before"), want)
		got, err := task.DecodeFailure(data[6:])
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := difference(want, got); diff != "" {
			t.Fatalf("seed %d: (-encoded +decoded)\n%s", seed, diff)
		}
		for cut := range len(data) - 6 {
			if _, err := task.DecodeFailure(data[6 : 6+cut]); err == nil {
				t.Fatalf("seed %d: %d of %d bytes were taken", seed, cut, len(data)-6)
			}
		}
	}
}
