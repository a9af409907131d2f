package session_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// harness is a session on a server without agents. The test does the work of an agent: it pulls batches and appends
// records to the session's log.
type harness struct {
	*testing.T
	ctx     context.Context //nolint:containedctx // the test's
	broker  *queues.Broker  // the test's own, not the session's
	conn    *nats.Conn      // the test's own, for what a broker cannot do
	session *session.Session
	log     *queues.Log     // of the session's owner
	batches chan task.Batch // batches that pull has received
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got the error %v, want none", err)
	}
}

// start opens a session for the owner "me", in a cluster that has announced one node with two CPUs and the functions f
// and g.
func start(t *testing.T) *harness {
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
	h := &harness{T: t, ctx: t.Context(), broker: connect(), batches: make(chan task.Batch, 10_000)}
	h.conn, err = nats.Connect("", nats.InProcessServer(server))
	check(t, err)
	t.Cleanup(h.conn.Close)
	has, err := task.NewResources(map[string]float64{"cpu": 2, "memory": 1 << 30})
	check(t, err)
	_, err = directory.Announce(h.ctx, h.broker, directory.Node{ID: "n1", Resources: has, Funcs: []string{"f", "g"}})
	check(t, err)
	h.session, err = session.Open(h.ctx, connect(), session.Config{Owner: "me", Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(h.session.Close)
	h.log, err = h.broker.OpenLog(h.ctx, h.broker.Log("me"))
	check(t, err)
	return h
}

// pull begins to receive the batches of the class cpu, and acks them.
func (h *harness) pull() {
	h.Helper()
	queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches("cpu", string(task.Normal)))
	check(h.T, err)
	puller := queue.Pull(func(d *queues.Delivery) {
		var b task.Batch
		if err := task.DecodeBatch(d.Data, &b); err != nil {
			h.Errorf("decode a batch: %v", err)
		}
		_ = d.Ack()
		h.batches <- b
	})
	h.Cleanup(puller.Stop)
	check(h.T, puller.Ask(1<<20))
}

// receive returns what the channel has next.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("waited a minute for a %T from a channel, and got none", *new(T))
		panic("unreachable")
	}
}

// within calls done until it returns true, and fails the test if that takes a minute.
func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for tooLong := time.After(time.Minute); !done(); {
		select {
		case <-tooLong:
			t.Fatalf("waited a minute until %s, in vain", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// specs returns the next n specs, of as many batches as it takes.
func (h *harness) specs(n int) []task.Spec {
	h.Helper()
	var specs []task.Spec
	for len(specs) < n {
		specs = append(specs, receive(h.T, h.batches).Specs...)
	}
	return specs
}

// record appends a record of these entries to the session's log.
func (h *harness) record(entries ...task.Entry) {
	h.Helper()
	check(h.T, h.log.Append(h.ctx, queues.Message{Data: encode("me", entries...)}))
}

// encode returns a record of the node n1.
func encode(owner string, entries ...task.Entry) []byte {
	var w task.RecordWriter
	for i := range entries {
		entries[i].Attempt = max(1, entries[i].Attempt)
		w.Add(&entries[i])
	}
	return w.Append(nil, "n1", owner)
}

var f = &session.Template{Func: "f", Retries: 2}

// submit submits a call of f that has two retries.
func (h *harness) submit() *session.Handle {
	return h.session.Submit(h.ctx, &session.Order{Template: f, Input: task.Value{Data: []byte{1}}}, nil)
}

// outcome waits for the outcome of a task, and returns it.
func (h *harness) outcome(handle *session.Handle) (string, error) {
	h.Helper()
	receive(h.T, handle.Done())
	var v task.Value
	err := handle.Outcome(h.ctx, &v)
	return string(v.Data), err
}

// expectOutcome waits for the outcome of a task, and expects that it is this result.
func (h *harness) expectOutcome(handle *session.Handle, want string) {
	h.Helper()
	if got, err := h.outcome(handle); got != want || err != nil {
		h.Errorf("got the result %q and the error %v, want %q and none", got, err, want)
	}
}

func ok(number uint64, value string) task.Entry {
	return task.Entry{Number: number, State: task.OK, Value: task.Value{Data: []byte(value)}}
}

func note(number uint64, state task.State, attempt, losses int) task.Entry {
	return task.Entry{Number: number, State: state, Dispatch: task.Dispatch{Attempt: int32(attempt), Losses: int32(losses)}, Failure: &task.Failure{Kind: task.KindError, Message: "no"}}
}

// expectSpec receives the next spec, and expects that it is this dispatch of task 1.
func (h *harness) expectSpec(want task.Dispatch) {
	h.Helper()
	s := h.specs(1)[0]
	if s.Number != 1 || s.Dispatch != want || string(s.Input.Data) != "\x01" {
		h.Errorf("got task %d with %+v and the input %q, want task 1 with %+v and its input", s.Number, s.Dispatch, s.Input.Data, want)
	}
}
