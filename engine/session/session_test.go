package session_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// The server's clock for message ages must run outside of every bubble of virtual time.
func TestMain(m *testing.M) {
	ats.Register()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { ats.Unregister(); os.Exit(code) }),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

func TestTheFirstFinalEntryIsTheOutcome(t *testing.T) {
	h := start(t)
	h.pull()
	a, b := h.submit(), h.submit()
	h.specs(2)
	h.record(ok(1, "first"), ok(1, "second"), note(1, task.Failed, 1, 0))
	h.record(note(2, task.Failed, 3, 0), ok(2, "late"), ok(99, "never submitted"))
	h.expectOutcome(a, "first")
	_, err := h.outcome(b)
	var failure *task.Failure
	if !errors.As(err, &failure) || failure.Func != "f" || failure.Task != (task.ID{Owner: "me", Number: 2}) || failure.Attempt != 3 || failure.Node != "n1" {
		t.Errorf("got the error %+v, want the failure of task me/2, function f, attempt 3, on node n1", err)
	}
}

// A failed attempt that is followed by another, a lost one and a refused one are published again, each once.
func TestAnErrorWithAttemptsLeftIsPublishedAgain(t *testing.T) {
	h := start(t)
	h.pull()
	handle := h.submit()
	h.expectSpec(task.Dispatch{Attempt: 1})
	h.record(note(1, task.Errored, 1, 0), note(1, task.Errored, 1, 0)) // the same note twice counts once
	h.expectSpec(task.Dispatch{Attempt: 2})
	h.record(note(1, task.Lost, 2, 0))
	h.expectSpec(task.Dispatch{Attempt: 2, Losses: 1})
	h.record(note(1, task.Refused, 2, 1))
	h.expectSpec(task.Dispatch{Attempt: 2, Losses: 1})
	h.record(ok(1, "done"))
	h.expectOutcome(handle, "done")
	if len(h.batches) > 0 {
		t.Errorf("after the result, %d more batches were published, want none", len(h.batches))
	}
}

// After ten losses, the owner appends a record that the task has failed. There are backoffs between the losses.
func TestTooManyLossesAreAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		h.pull()
		handle := h.submit()
		begun := time.Now()
		for losses := range graph.MaxLosses {
			h.expectSpec(task.Dispatch{Attempt: 1, Losses: int32(losses)})
			h.record(note(1, task.Lost, 1, losses))
		}
		_, err := h.outcome(handle)
		var failure *task.Failure
		if !errors.As(err, &failure) || failure.Kind != task.KindLost || !strings.Contains(failure.Message, "lost 10 times") {
			t.Errorf("got the error %+v, want a failure of the kind %q that says \"lost 10 times\"", err, task.KindLost)
		}
		if took := time.Since(begun); took < 30*time.Second {
			t.Errorf("ten losses took %s, want at least 30 s because of the backoffs", took)
		}
		entries := 0
		for _, err := range h.log.Read(h.ctx, 0) {
			check(t, err)
			entries++
		}
		if entries != graph.MaxLosses+1 {
			t.Errorf("the log has %d records, want %d: the losses and the failure", entries, graph.MaxLosses+1)
		}
	})
}

// If nothing is republished for a while, the session reads its log.
func TestASessionReadsALogThatIsSilent(t *testing.T) {
	h := start(t)
	h.pull()
	handle := h.submit()
	h.specs(1)
	h.session.Deafen()
	h.record(ok(1, "found"))
	h.expectOutcome(handle, "found")
}

// A session passes over messages in its log that are no record of its own.
func TestALogWithOtherMessages(t *testing.T) {
	h := start(t)
	h.pull()
	handle := h.submit()
	h.specs(1)
	for _, data := range [][]byte{nil, []byte("junk"), encode("somebody else", ok(1, "not mine")), {0x86, 1}} {
		check(t, h.log.Append(h.ctx, queues.Message{Data: data}))
	}
	h.record(task.Entry{Number: 1, State: task.Failed}) // has no Failure
	_, err := h.outcome(handle)
	if err == nil || !strings.Contains(err.Error(), "without a reason") {
		t.Errorf("got the error %v, want one that says \"without a reason\"", err)
	}
}

// A session stops at a record of an unknown version, since it may hold an outcome.
func TestAnUnknownVersionStopsTheReader(t *testing.T) {
	h := start(t)
	h.pull()
	handle := h.submit()
	h.specs(1)
	newer := encode("me", ok(1, "x"))
	newer[1]++ // the version is the envelope's first item
	check(t, h.log.Append(h.ctx, queues.Message{Data: newer}))
	if _, err := h.outcome(handle); !errors.Is(err, task.ErrVersion) {
		t.Errorf("the task ended with %v, want %v", err, task.ErrVersion)
	}
	if _, err := h.outcome(h.submit()); !errors.Is(err, task.ErrVersion) {
		t.Errorf("a task that was submitted afterwards ended with %v, want %v", err, task.ErrVersion)
	}
}

// The first task of a function is published alone. Then a batch has as many of the waiting tasks as the measured run times
// allow.
func TestTheSizeOfBatchesFollowsRunTimes(t *testing.T) {
	h := start(t)
	h.pull()
	first := h.submit()
	if b := receive(t, h.batches); len(b.Specs) != 1 || b.Owner != "me" || b.Class != "cpu" || b.Calls[0] != (task.Call{Func: "f", Retries: 2}) {
		t.Errorf("got the batch %+v, want one task of owner me and class cpu, which calls f with 2 retries", b)
	}
	quick := ok(1, "")
	quick.Ran = time.Microsecond
	h.record(quick)
	h.expectOutcome(first, "")
	const n = 20_000
	for range n - 1 {
		h.submit()
	}
	last := h.submit()
	check(t, h.session.Flush(h.ctx))
	largest, seen := 0, map[uint64]bool{}
	for len(seen) < n {
		b := receive(t, h.batches)
		largest = max(largest, len(b.Specs))
		for _, s := range b.Specs {
			if seen[s.Number] {
				t.Fatalf("task %d was published twice, want once", s.Number)
			}
			seen[s.Number] = true
		}
	}
	if largest < 32 || largest > 1024 {
		t.Errorf("the largest batch of quick tasks has %d tasks, want 32 to 1024", largest)
	}
	var slow []task.Entry // now the function takes longer
	for number := range uint64(100) {
		slow = append(slow, task.Entry{Number: number + 2, State: task.OK, Ran: 50 * time.Millisecond})
	}
	h.record(slow...)
	h.record(ok(n+1, ""))
	h.expectOutcome(last, "")
	for range 10 {
		h.submit()
	}
	for range 10 {
		if b := receive(t, h.batches); len(b.Specs) != 1 {
			t.Errorf("a batch has %d tasks of 50 ms, want 1", len(b.Specs))
		}
	}
}

func TestFlushReturnsWhenAllIsStored(t *testing.T) {
	h := start(t)
	for range 1000 {
		h.submit()
	}
	check(t, h.session.Flush(h.ctx))
	queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches("cpu", string(task.Normal)))
	check(t, err)
	stored := 0
	for m, err := range queue.List(h.ctx) {
		check(t, err)
		var b task.Batch
		check(t, task.DecodeBatch(m.Data, &b))
		stored += len(b.Specs)
	}
	if stored != 1000 {
		t.Errorf("%d tasks are stored when Flush has returned, want 1000", stored)
	}
	check(t, h.session.Flush(h.ctx)) // there is nothing to wait for
}

// If the server refuses a batch, the session publishes it again later.
func TestARefusedBatchIsPublishedAgain(t *testing.T) {
	h := start(t)
	first := h.submit()
	check(t, h.session.Flush(h.ctx))
	js, err := jetstream.New(h.conn)
	check(t, err)
	check(t, js.DeleteStream(h.ctx, "tm_b1_cpu"))
	var later []*session.Handle
	for range 10 {
		later = append(later, h.submit())
	}
	within(t, "the server has refused a batch", func() bool { return h.session.Refusals() > 0 })
	h.pull() // creates the stream again
	for _, s := range h.specs(10) {
		h.record(ok(s.Number, "done"))
	}
	for _, handle := range later {
		h.expectOutcome(handle, "done")
	}
	check(t, h.session.Flush(h.ctx))
	if first.Ended() {
		t.Error("the first task has ended, want it open: its batch was in the stream that was deleted")
	}
}

// The session's row says up to which sequence its log has been read, so that agents can trim the log.
func TestTheRowSaysHowFarTheLogIsRead(t *testing.T) {
	h := start(t)
	h.pull()
	handle := h.submit()
	h.specs(1)
	h.record(ok(1, ""))
	h.expectOutcome(handle, "")
	table, err := h.broker.OpenTable(h.ctx, h.broker.Sessions())
	check(t, err)
	rows := make(chan queues.Row, 10)
	w, err := table.Watch(h.ctx, func(row queues.Row) { rows <- row })
	check(t, err)
	defer w.Stop()
	last, err := h.log.Last(h.ctx)
	check(t, err)
	var row lease.Row
	for range 10 { // rows that renew the lease may come before
		if check(t, json.Unmarshal(receive(t, rows).Value, &row)); row.Trimmed != 0 {
			break
		}
	}
	if row.Trimmed != last {
		t.Errorf("the row says that the log is read up to %d, want %d, the last one", row.Trimmed, last)
	}
}

// Each time the tasks of a batch are lost, they are published again in batches of a sixteenth of the size.
func TestEachLossDividesABatch(t *testing.T) {
	h := start(t)
	h.pull()
	for range 64 {
		h.submit()
	}
	h.specs(64)
	for losses, limit := range []int{4, 4, 1} {
		var lost []task.Entry
		for n := range uint64(64) {
			lost = append(lost, note(n+1, task.Lost, 1, losses))
		}
		h.record(lost...)
		for got := 0; got < 64; {
			b := receive(t, h.batches)
			if got += len(b.Specs); len(b.Specs) > limit {
				t.Errorf("after loss %d, a batch has %d tasks, want at most %d", losses+1, len(b.Specs), limit)
			}
		}
	}
}

// However many tasks are cancelled, the rows that say so fit into messages.
func TestManyCancelsFitIntoRows(t *testing.T) {
	h := start(t)
	var some []*session.Handle
	for n := range 20_000 {
		if handle := h.submit(); n%2 == 0 {
			some = append(some, handle)
		}
	}
	h.session.CancelAsync(some...)
	for _, handle := range some {
		check(t, handle.Wait(h.ctx))
	}
	table, err := h.broker.OpenTable(h.ctx, h.broker.Cancels())
	check(t, err)
	cancelled := map[uint64]bool{}
	within(t, "the rows have all 10 000 cancelled tasks", func() bool {
		rows, err := table.All(h.ctx)
		check(t, err)
		for _, row := range rows {
			var c session.Cancels
			check(t, json.Unmarshal(row.Value, &c))
			if len(c.Asked) > 4096 {
				t.Fatalf("a row has %d ranges of numbers, want at most 4096", len(c.Asked))
			}
			for _, numbers := range c.Asked {
				cancelled[numbers[0]] = true
			}
		}
		return len(cancelled) >= len(some)
	})
}

// Close ends every call that waits, whatever it waits for.
func TestCloseEndsEveryCallThatWaits(t *testing.T) {
	h := start(t)
	handle := h.submit()
	done := session.NewCompletions()
	done.Watch(handle)
	full := &session.Template{Func: "f", Pending: 1}
	waiting := make(chan *session.Handle)
	go func() { waiting <- h.session.Submit(h.ctx, &session.Order{Template: full}, nil) }()
	h.session.Close()
	h.session.Close()
	for i, handle := range []*session.Handle{handle, receive(t, waiting), h.submit()} {
		if _, err := h.outcome(handle); !errors.Is(err, session.ErrClosed) {
			t.Errorf("task %d ended with %v, want %v", i, err, session.ErrClosed)
		}
	}
	if got, err := done.Take(h.ctx, nil); len(got) != 1 || err != nil {
		t.Errorf("got %d completions and the error %v, want 1 and none", len(got), err)
	}
	if err := h.session.Flush(h.ctx); !errors.Is(err, session.ErrClosed) {
		t.Errorf("Flush: got the error %v, want %v", err, session.ErrClosed)
	}
}
