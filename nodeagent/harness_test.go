package nodeagent_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/nodeagent"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// harness is a server with an agent. The test does the work of an owner: it publishes batches and reads records.
type harness struct {
	*testing.T
	ctx      context.Context //nolint:containedctx // the test's
	server   *embedded.Server
	broker   *queues.Broker // the test's own, not the agent's
	registry *registry.Registry
	agent    *nodeagent.Agent // of the node n1
	entries  chan task.Entry  // entries of the owner's records, in order
}

// owner is the owner of the batches that publish sends.
const owner = "me"

// start starts a server and an agent with these resources.
func start(t *testing.T, resources map[string]float64) *harness {
	t.Helper()
	server, err := embedded.Start(embedded.Config{})
	check(t, err)
	t.Cleanup(server.Close)
	h := &harness{T: t, ctx: t.Context(), server: server, registry: registry.New(), entries: make(chan task.Entry, 200_000)}
	h.broker = h.connect()
	h.agent = h.startAgent("n1", resources)
	log, err := h.broker.OpenLog(h.ctx, h.broker.Log(owner))
	check(t, err)
	follower, err := log.Follow(h.ctx, 0, h.read)
	check(t, err)
	t.Cleanup(follower.Close)
	return h
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got the error %v, want none", err)
	}
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

// connect connects a broker that the test closes.
func (h *harness) connect() *queues.Broker {
	h.Helper()
	broker, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: h.server})
	check(h.T, err)
	h.Cleanup(broker.Close)
	return broker
}

// startAgent starts another agent with these resources.
func (h *harness) startAgent(node string, amounts map[string]float64) *nodeagent.Agent {
	h.Helper()
	resources, err := task.NewResources(amounts)
	check(h.T, err)
	agent, err := nodeagent.Start(h.ctx, h.connect(), nodeagent.Config{NodeID: node, Resources: resources, Registry: h.registry})
	check(h.T, err)
	h.Cleanup(func() { // with a bound: in a test that has failed, a task may not end
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = agent.Close(ctx)
	})
	return agent
}

// read takes the entries of a record.
func (h *harness) read(e queues.LogEntry) {
	var rec task.Record
	if err := task.DecodeRecord(e.Data, &rec); err != nil {
		h.Errorf("decode a record: %v", err)
	}
	for _, entry := range rec.Entries {
		entry.Value.Data = slices.Clone(entry.Value.Data)
		h.entries <- entry
	}
}

// define registers a function from bytes to bytes.
func (h *harness) define(name string, fn func(ctx context.Context, in []byte) ([]byte, error)) {
	h.Helper()
	check(h.T, h.registry.Add(&registry.Function{Name: name, Invoke: func(ctx context.Context, in *task.Value, dst []byte) (task.Value, error) {
		out, err := fn(ctx, in.Data)
		return task.Value{Data: append(dst, out...)}, err
	}}))
}

// publish publishes a batch with these calls of a function to the queue of a class, after it has announced the class.
func (h *harness) publish(class task.Class, fn string, specs ...task.Spec) {
	h.Helper()
	table, err := h.broker.OpenTable(h.ctx, h.broker.Classes())
	check(h.T, err)
	queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches(string(class), string(task.Normal)))
	check(h.T, err)
	_, err = table.Put(h.ctx, session.ClassKey(class, task.Normal), []byte(class))
	check(h.T, err)
	for i := range specs {
		specs[i].Attempt = max(1, specs[i].Attempt)
	}
	batch := &task.Batch{Owner: owner, Class: class, Level: task.Normal, Calls: []task.Call{{Func: fn}}, Specs: specs}
	check(h.T, queue.Publish(h.ctx, queues.Message{Data: task.AppendBatch(nil, batch)}))
}

// numbered returns n specs with successive numbers.
func numbered(from, n uint64) []task.Spec {
	specs := make([]task.Spec, n)
	for i := range specs {
		specs[i].Number = from + uint64(i)
	}
	return specs
}

// next returns the next n entries by number.
func (h *harness) next(n int) map[uint64]task.Entry {
	h.Helper()
	got := map[uint64]task.Entry{}
	for range n {
		select {
		case e := <-h.entries:
			got[e.Number] = e
		case <-time.After(time.Minute):
			h.Fatalf("waited a minute for the next entry: got %d, want %d", len(got), n)
		}
	}
	return got
}

// expectOK waits for the next entry, and expects that it is a result of the task with this number.
func (h *harness) expectOK(number uint64) {
	h.Helper()
	for n, e := range h.next(1) {
		if n != number || e.State != task.OK {
			h.Errorf("got the entry %s of task %d with the failure %v, want %s of task %d", e.State, n, e.Failure, task.OK, number)
		}
	}
}
