package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// The server's clock for message ages must run outside of every bubble of virtual time.
func TestMain(m *testing.M) {
	ats.Register()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { ats.Unregister(); os.Exit(code) }),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// rig is a session whose agent is the test: it draws batches and writes records.
type rig struct {
	*testing.T
	ctx     context.Context //nolint:containedctx // the test's
	broker  *queues.Broker  // the test's
	conn    *nats.Conn      // the test's, for what brokers cannot do
	session *session.Session
	log     *queues.Log
	batches chan task.Batch
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start opens a session in a cluster of one node of two CPUs that has the functions f and g.
func start(t *testing.T) *rig {
	t.Helper()
	server, err := embedded.Start(embedded.Config{})
	check(t, err)
	t.Cleanup(server.Close)
	connect := func() *queues.Broker {
		b, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: server})
		check(t, err)
		t.Cleanup(b.Close)
		return b
	}
	r := &rig{T: t, ctx: t.Context(), broker: connect(), batches: make(chan task.Batch, 10_000)}
	r.conn, err = nats.Connect("", nats.InProcessServer(server))
	check(t, err)
	t.Cleanup(r.conn.Close)
	has, err := task.NewResources(map[string]float64{"cpu": 2, "memory": 1 << 30})
	check(t, err)
	_, err = directory.Announce(r.ctx, r.broker, directory.Node{ID: "n1", Resources: has, Funcs: []string{"f", "g"}})
	check(t, err)
	r.session, err = session.Open(r.ctx, connect(), session.Config{Owner: "me", Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(r.session.Close)
	r.log, err = r.broker.OpenLog(r.ctx, r.broker.Log("me"))
	check(t, err)
	return r
}

// draw begins to take the batches of the class cpu.
func (r *rig) draw() {
	r.Helper()
	queue, err := r.broker.OpenQueue(r.ctx, r.broker.Batches("cpu", string(task.Normal)))
	check(r.T, err)
	puller := queue.Pull(func(d *queues.Delivery) {
		var b task.Batch
		if err := task.DecodeBatch(d.Data, &b); err != nil {
			r.Error(err)
		}
		_ = d.Ack()
		r.batches <- b
	})
	r.Cleanup(puller.Stop)
	check(r.T, puller.Ask(1<<20))
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// specs returns the next n specs of whatever batches.
func (r *rig) specs(n int) []task.Spec {
	r.Helper()
	var specs []task.Spec
	for len(specs) < n {
		specs = append(specs, receive(r.T, r.batches).Specs...)
	}
	return specs
}

// record appends a record.
func (r *rig) record(entries ...task.Entry) {
	r.Helper()
	check(r.T, r.log.Append(r.ctx, queues.Message{Data: encode("me", entries...)}))
}

func encode(owner string, entries ...task.Entry) []byte {
	var w task.RecordWriter
	for i := range entries {
		entries[i].Attempt = max(1, entries[i].Attempt)
		w.Add(&entries[i])
	}
	return w.Append(nil, "n1", owner)
}

var f = &session.Template{Func: "f", Retries: 2}

func (r *rig) submit() *session.Handle {
	return r.session.Submit(r.ctx, &session.Order{Template: f, Input: task.Value{Data: []byte{1}}}, nil)
}

func (r *rig) outcome(h *session.Handle) (string, error) {
	r.Helper()
	receive(r.T, h.Done())
	var v task.Value
	err := h.Outcome(r.ctx, &v)
	return string(v.Data), err
}

func (r *rig) expect(h *session.Handle, want string) {
	r.Helper()
	if got, err := r.outcome(h); got != want || err != nil {
		r.Errorf("outcome %q, %v; want %q", got, err, want)
	}
}

func ok(number uint64, value string) task.Entry {
	return task.Entry{Number: number, State: task.OK, Value: task.Value{Data: []byte(value)}}
}

func note(number uint64, state task.State, attempt, losses int) task.Entry {
	return task.Entry{Number: number, State: state, Dispatch: task.Dispatch{Attempt: int32(attempt), Losses: int32(losses)}, Failure: &task.Failure{Kind: task.KindError, Message: "no"}}
}

func TestTheFirstFinalEntryIsTheOutcome(t *testing.T) {
	r := start(t)
	r.draw()
	a, b := r.submit(), r.submit()
	r.specs(2)
	r.record(ok(1, "first"), ok(1, "second"), note(1, task.Failed, 1, 0))
	r.record(note(2, task.Failed, 3, 0), ok(2, "late"), ok(99, "never submitted"))
	r.expect(a, "first")
	_, err := r.outcome(b)
	var failure *task.Failure
	if !errors.As(err, &failure) || failure.Func != "f" || failure.Task != (task.ID{Owner: "me", Number: 2}) || failure.Attempt != 3 || failure.Node != "n1" {
		t.Errorf("%+v", err)
	}
}

func TestAnErrorWithAttemptsLeftIsPublishedAgain(t *testing.T) {
	r := start(t)
	r.draw()
	h := r.submit()
	if s := r.specs(1)[0]; s.Number != 1 || s.Attempt != 1 {
		t.Errorf("%+v", s)
	}
	r.record(note(1, task.Errored, 1, 0), note(1, task.Errored, 1, 0)) // noted twice: counts once
	if s := r.specs(1)[0]; s.Number != 1 || s.Attempt != 2 || s.Input.Data[0] != 1 {
		t.Errorf("%+v", s)
	}
	r.record(note(1, task.Lost, 2, 0))
	if s := r.specs(1)[0]; s.Attempt != 2 || s.Losses != 1 {
		t.Errorf("%+v", s)
	}
	r.record(note(1, task.Refused, 2, 1))
	if s := r.specs(1)[0]; s.Attempt != 2 || s.Losses != 1 {
		t.Errorf("%+v", s)
	}
	r.record(ok(1, "done"))
	r.expect(h, "done")
	if len(r.batches) > 0 {
		t.Error("published once more")
	}
}

// Ten losses end a task by a record of its owner; the backoffs between them are minutes.
func TestTooManyLossesAreAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		r.draw()
		h := r.submit()
		begun := time.Now()
		for losses := range graph.MaxLosses {
			if s := r.specs(1)[0]; int(s.Losses) != losses || s.Attempt != 1 {
				t.Fatalf("%+v", s)
			}
			r.record(note(1, task.Lost, 1, losses))
		}
		_, err := r.outcome(h)
		var failure *task.Failure
		if !errors.As(err, &failure) || failure.Kind != task.KindLost || !strings.Contains(failure.Message, "lost 10 times") {
			t.Errorf("%+v", err)
		}
		if took := time.Since(begun); took < 30*time.Second {
			t.Errorf("ten losses in %s", took)
		}
		entries := 0
		for _, err := range r.log.Read(r.ctx, 0) {
			check(t, err)
			entries++
		}
		if entries != graph.MaxLosses+1 {
			t.Errorf("%d records: the failure is to be in the log", entries)
		}
	})
}

// What was not told is asked for when the log is silent.
func TestASilentLogIsAskedFor(t *testing.T) {
	r := start(t)
	r.draw()
	h := r.submit()
	r.specs(1)
	r.session.Deafen()
	r.record(ok(1, "found"))
	r.expect(h, "found")
}

func TestTheLogMayHoldWhatIsNoRecord(t *testing.T) {
	r := start(t)
	r.draw()
	h := r.submit()
	r.specs(1)
	for _, data := range [][]byte{nil, []byte("junk"), encode("somebody else", ok(1, "not mine")), {0x86, 1}} {
		check(t, r.log.Append(r.ctx, queues.Message{Data: data}))
	}
	r.record(task.Entry{Number: 1, State: task.Failed}) // without a reason
	_, err := r.outcome(h)
	if err == nil || !strings.Contains(err.Error(), "without a reason") {
		t.Errorf("got %v", err)
	}
}

// A record of an unknown version could hold an outcome: the session stops instead of passing it over.
func TestAnUnknownVersionStopsTheReader(t *testing.T) {
	r := start(t)
	r.draw()
	h := r.submit()
	r.specs(1)
	newer := encode("me", ok(1, "x"))
	newer[1]++ // the version is the envelope's first item
	check(t, r.log.Append(r.ctx, queues.Message{Data: newer}))
	if _, err := r.outcome(h); !errors.Is(err, task.ErrVersion) {
		t.Errorf("got %v", err)
	}
	if _, err := r.outcome(r.submit()); !errors.Is(err, task.ErrVersion) {
		t.Errorf("afterwards: %v", err)
	}
}

// What waits goes out together: a first task alone, then as many as the measured run times allow.
func TestBatchesFollowWhatWaits(t *testing.T) {
	r := start(t)
	r.draw()
	first := r.submit()
	if b := receive(t, r.batches); len(b.Specs) != 1 || b.Owner != "me" || b.Class != "cpu" || b.Calls[0] != (task.Call{Func: "f", Retries: 2}) {
		t.Errorf("%+v", b)
	}
	quick := ok(1, "")
	quick.Ran = time.Microsecond
	r.record(quick)
	r.expect(first, "")
	const n = 20_000
	for range n - 1 {
		r.submit()
	}
	last := r.submit()
	check(t, r.session.Flush(r.ctx))
	largest, seen := 0, map[uint64]bool{}
	for len(seen) < n {
		b := receive(t, r.batches)
		largest = max(largest, len(b.Specs))
		for _, s := range b.Specs {
			if seen[s.Number] {
				t.Fatalf("task %d is published twice", s.Number)
			}
			seen[s.Number] = true
		}
	}
	if largest < 32 || largest > 1024 {
		t.Errorf("the largest batch has %d tasks", largest)
	}
	var slow []task.Entry // now the function takes long
	for number := range uint64(100) {
		slow = append(slow, task.Entry{Number: number + 2, State: task.OK, Ran: 50 * time.Millisecond})
	}
	r.record(slow...)
	r.record(ok(n+1, ""))
	r.expect(last, "")
	for range 10 {
		r.submit()
	}
	for range 10 {
		if b := receive(t, r.batches); len(b.Specs) != 1 {
			t.Errorf("a batch of %d tasks of 50 ms", len(b.Specs))
		}
	}
}

func TestFlushReturnsWhenAllIsStored(t *testing.T) {
	r := start(t)
	for range 1000 {
		r.submit()
	}
	check(t, r.session.Flush(r.ctx))
	r.draw()
	have := 0
	for len(r.batches) > 0 || have == 0 {
		have += len(receive(t, r.batches).Specs)
		for have < 1000 && len(r.batches) == 0 {
			runtime.Gosched()
		}
	}
	if have != 1000 {
		t.Errorf("%d tasks are stored", have)
	}
	check(t, r.session.Flush(r.ctx)) // nothing to wait for
}

// A batch that was refused waits and is sent again.
func TestARefusedBatchIsSentAgain(t *testing.T) {
	r := start(t)
	first := r.submit()
	check(t, r.session.Flush(r.ctx))
	js, err := jetstream.New(r.conn)
	check(t, err)
	check(t, js.DeleteStream(r.ctx, "tm_b1_cpu"))
	var later []*session.Handle
	for range 10 {
		later = append(later, r.submit())
	}
	for r.session.Refusals() == 0 {
		runtime.Gosched()
	}
	r.draw() // makes the stream again
	for _, s := range r.specs(10) {
		r.record(ok(s.Number, "done"))
	}
	for _, h := range later {
		r.expect(h, "done")
	}
	check(t, r.session.Flush(r.ctx))
	if first.Ended() {
		t.Error("the first task was in the stream that is gone")
	}
}

func TestTheSessionSaysHowFarItsLogIsRead(t *testing.T) {
	r := start(t)
	r.draw()
	h := r.submit()
	r.specs(1)
	r.record(ok(1, ""))
	r.expect(h, "")
	table, err := r.broker.OpenTable(r.ctx, r.broker.Sessions())
	check(t, err)
	rows := make(chan queues.Row, 10)
	w, err := table.Watch(r.ctx, func(row queues.Row) { rows <- row })
	check(t, err)
	defer w.Stop()
	last, err := r.log.Last(r.ctx)
	check(t, err)
	var row lease.Row
	for row.Trimmed == 0 { // the lease's own row may come before
		check(t, json.Unmarshal(receive(t, rows).Value, &row))
	}
	if row.Trimmed != last {
		t.Errorf("trimmed %d, the log ends at %d", row.Trimmed, last)
	}
}

// What is lost again is divided again: it comes in sixteen parts, and each of these in sixteen.
func TestEachLossDivides(t *testing.T) {
	r := start(t)
	r.draw()
	for range 64 {
		r.submit()
	}
	r.specs(64)
	for losses, most := range []int{4, 4, 1} {
		var lost []task.Entry
		for n := range uint64(64) {
			lost = append(lost, note(n+1, task.Lost, 1, losses))
		}
		r.record(lost...)
		for got := 0; got < 64; {
			b := receive(t, r.batches)
			if got += len(b.Specs); len(b.Specs) > most {
				t.Errorf("after loss %d, %d come together", losses+1, len(b.Specs))
			}
		}
	}
}

// However many are cancelled, agents are told in rows that fit into messages.
func TestManyCancels(t *testing.T) {
	r := start(t)
	var some []*session.Handle
	for n := range 20_000 {
		if h := r.submit(); n%2 == 0 {
			some = append(some, h)
		}
	}
	check(t, r.session.Cancel(r.ctx, some...))
	table, err := r.broker.OpenTable(r.ctx, r.broker.Cancels())
	check(t, err)
	told := map[uint64]bool{}
	for len(told) < len(some) {
		rows, err := table.All(r.ctx)
		check(t, err)
		for _, row := range rows {
			var c session.Cancels
			check(t, json.Unmarshal(row.Value, &c))
			if len(c.Asked) > 4096 {
				t.Fatalf("a row of %d ranges", len(c.Asked))
			}
			for _, r := range c.Asked {
				told[r[0]] = true
			}
		}
	}
}

// Close ends all waiting, whatever it waits for.
func TestCloseEndsAllWaiting(t *testing.T) {
	r := start(t)
	h := r.submit()
	done := session.NewCompletions()
	done.Watch(h)
	full := &session.Template{Func: "f", Pending: 1}
	waiting := make(chan *session.Handle)
	go func() { waiting <- r.session.Submit(r.ctx, &session.Order{Template: full}, nil) }()
	r.session.Close()
	r.session.Close()
	for i, h := range []*session.Handle{h, receive(t, waiting), r.submit()} {
		if _, err := r.outcome(h); !errors.Is(err, session.ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if got, err := done.Take(r.ctx, nil); len(got) != 1 || err != nil {
		t.Errorf("%d completions, %v", len(got), err)
	}
	if err := r.session.Flush(r.ctx); !errors.Is(err, session.ErrClosed) {
		t.Errorf("flush: %v", err)
	}
}
