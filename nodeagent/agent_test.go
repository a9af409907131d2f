package nodeagent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/nodeagent"
	"github.com/tidemill/tidemill/queues"
)

// The server's clock for message ages must run outside of every bubble of virtual time.
func TestMain(m *testing.M) {
	ats.Register()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// Each task of a batch has an entry in a record, with its result or its error.
func TestAgentRecordsEveryTaskOfABatch(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 2})
	h.define("f", func(_ context.Context, in []byte) ([]byte, error) {
		if in[0] == 3 {
			return nil, errors.New("three")
		}
		return in, nil
	})
	specs := numbered(1, 100)
	for i := range specs {
		specs[i].Input.Data = []byte{byte(i)}
	}
	h.publish("cpu", "f", specs...)
	for number, e := range h.next(100) {
		switch {
		case number == 4:
			if e.State != task.Failed || e.Failure.Message != "three" {
				t.Errorf("task 4: got the entry %+v, want %s with the message \"three\"", e, task.Failed)
			}
		case e.State != task.OK || e.Value.Data[0] != byte(number-1):
			t.Errorf("task %d: got the entry %+v, want %s with its input as the result", number, e, task.OK)
		}
	}
}

// An agent that does not have the function of a task refuses it. That costs no attempt and no loss.
func TestAgentRefusesAnUnknownFunction(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 2})
	h.publish("cpu", "gone", task.Spec{Number: 7, Dispatch: task.Dispatch{Attempt: 2, Losses: 1}})
	if e := h.next(1)[7]; e.State != task.Refused || e.Attempt != 2 || e.Losses != 1 {
		t.Errorf("got the entry %+v, want %s with attempt 2 and 1 loss", e, task.Refused)
	}
}

// The tasks of a batch that the server redelivers do not run: another agent may run them, or may have died of one.
func TestAgentRecordsARedeliveredBatchAsLost(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 2})
	var runs atomic.Int64
	h.define("f", func(context.Context, []byte) ([]byte, error) { runs.Add(1); return nil, nil })
	queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches("gpu", string(task.Normal)))
	check(t, err)
	first := make(chan *queues.Delivery, 1)
	puller := queue.Pull(func(d *queues.Delivery) { first <- d })
	check(t, puller.Ask(1))
	h.publish("gpu", "f", numbered(1, 3)...) // the agent has no gpu, so the test gets the batch
	d := receive(t, first)
	puller.Stop()
	h.startAgent("n2", map[string]float64{"cpu": 1, "gpu": 1})
	check(t, d.Nak())
	for number, e := range h.next(3) {
		if e.State != task.Lost || e.Attempt != 1 {
			t.Errorf("task %d: got the entry %+v, want %s with attempt 1", number, e, task.Lost)
		}
	}
	if runs.Load() != 0 {
		t.Errorf("the function ran %d times, want 0", runs.Load())
	}
}

// What was lost in one batch is recorded in one record: its owner learns from that how many tasks were lost together.
func TestAgentRecordsTheLossOfABatchAtOnce(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 2})
	queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches("gpu", string(task.Normal)))
	check(t, err)
	first := make(chan *queues.Delivery, 1)
	puller := queue.Pull(func(d *queues.Delivery) { first <- d })
	check(t, puller.Ask(1))
	h.publish("gpu", "f", numbered(1, 100)...) // this agent has no gpu: the batch comes to the test
	d := <-first
	puller.Stop()
	log, err := h.broker.OpenLog(h.ctx, h.broker.Log(owner))
	check(t, err)
	records := make(chan int, 100)
	follower, err := log.Follow(h.ctx, 0, func(e queues.LogEntry) {
		var rec task.Record
		check(t, task.DecodeRecord(e.Data, &rec))
		records <- len(rec.Entries)
	})
	check(t, err)
	defer follower.Close()
	h.startAgent("n2", map[string]float64{"cpu": 1, "gpu": 1})
	check(t, d.Nak())
	if n := <-records; n != 100 {
		t.Errorf("entries of the first record: got %d, want all 100", n)
	}
}

// Batches that the server redelivers do not use up the credit of an idle agent.
func TestRedeliveriesDoNotUseUpCredit(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 1})
	h.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches("db", string(task.Normal)))
	check(t, err)
	came := make(chan *queues.Delivery, 10)
	puller := queue.Pull(func(d *queues.Delivery) { came <- d })
	check(t, puller.Ask(5))
	for i := range uint64(5) {
		h.publish("db", "f", numbered(1+i, 1)...)
	}
	var held []*queues.Delivery
	for range 5 {
		held = append(held, receive(t, came))
	}
	puller.Stop()
	h.startAgent("n2", map[string]float64{"cpu": 1, "db": 1})
	for _, d := range held {
		check(t, d.Nak())
	}
	h.next(5)
	h.publish("db", "f", numbered(10, 1)...)
	h.expectOK(10)
}

// A message that is no valid batch becomes a dead letter that says why, and the agent goes on.
func TestAgentSurvivesHostileMessages(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 2})
	h.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	h.publish("cpu", "f", numbered(1, 1)...)
	h.next(1)
	queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches("cpu", string(task.Normal)))
	check(t, err)
	whole := task.AppendBatch(nil, &task.Batch{Owner: owner, Class: "cpu", Calls: []task.Call{{Func: "f"}}, Specs: numbered(5, 2)})
	from := func(owner, fn string, class task.Class) []byte {
		return task.AppendBatch(nil, &task.Batch{Owner: owner, Class: class, Level: task.Normal, Calls: []task.Call{{Func: fn}}, Specs: numbered(5, 2)})
	}
	hostile := [][]byte{
		from("", "f", "cpu"), from("a.b", "f", "cpu"), from("x y", "f", "cpu"), from(strings.Repeat("x", 5000), "f", "cpu"),
		from(owner, "no name", "cpu"), from(owner, "f", "gpu"),
		nil,
		{},
		[]byte("nonsense"), whole[:len(whole)-1], append(whole, 0),
		{0xbf, 0xff},
		{0x9b, 255, 255, 255, 255, 255, 255, 255, 255},
		make([]byte, h.broker.MaxPayload()),
	}
	for _, data := range hostile {
		check(t, queue.Publish(h.ctx, queues.Message{Data: data}))
	}
	for _, status := range []string{"100", "404", "408", "409", "503"} { // headers of the server's own messages
		check(t, queue.Publish(h.ctx, queues.Message{Header: queues.Header{"Status": {status}}}))
		hostile = append(hostile, nil)
	}
	h.publish("cpu", "f", numbered(2, 1)...)
	h.expectOK(2)
	dead, err := h.broker.OpenLog(h.ctx, h.broker.Dead("cpu", "unreadable"), queues.Rolling(64<<20, 7*24*time.Hour))
	check(t, err)
	within(t, "each hostile message is a dead letter", func() bool {
		letters := 0
		for e, err := range dead.Read(h.ctx, 0) {
			check(t, err)
			if letters++; e.Header.Get("Tm-Reason") == "" {
				t.Fatalf("got a dead letter with the headers %v, want a Tm-Reason", e.Header)
			}
		}
		return letters == len(hostile)
	})
}

// Rows of tables that make no sense do not disturb an agent.
func TestAgentIgnoresHostileRows(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 2})
	h.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	for _, name := range []queues.TableName{h.broker.Classes(), h.broker.Sessions(), h.broker.Nodes()} {
		table, err := h.broker.OpenTable(h.ctx, name)
		check(t, err)
		for i, row := range []string{"", "null", "{", "cpu=1", "cpu=", `{"trimmed":-1}`, `{"trimmed":18446744073709551615}`} {
			_, err := table.Put(h.ctx, fmt.Sprint("row", i), []byte(row))
			check(t, err)
		}
	}
	h.publish("cpu", "f", numbered(1, 1)...)
	h.next(1)
}

// A second agent with the name of a running one does not start.
func TestTwoAgentsCannotShareANodeID(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 1})
	resources, err := task.NewResources(map[string]float64{"cpu": 1})
	check(t, err)
	_, err = nodeagent.Start(h.ctx, h.connect(), nodeagent.Config{NodeID: "n1", Resources: resources, Registry: h.registry})
	if err == nil {
		t.Error("a second agent of the node n1 has started, want an error")
	}
}

// account adds up the resources of the tasks that run.
type account struct {
	mu  sync.Mutex
	now map[string]float64 // resources in use; guarded by mu
	has map[string]float64 // resources of the agent
}

// add adds the needs of a task, or takes them off, and fails the test if more is in use than the agent has.
func (a *account) add(t *testing.T, needs map[string]float64, sign float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, n := range needs {
		a.now[name] += sign * n
		if a.now[name] > a.has[name] {
			t.Errorf("%v of %s is in use, want at most %v", a.now[name], name, a.has[name])
		}
	}
}

// Tasks never use more resources than the agent has, whatever shapes run at the same time, and all of them run.
func TestTasksNeverUseMoreThanTheAgentHas(t *testing.T) {
	has := map[string]float64{"cpu": 4, "memory": 1 << 30, "db": 2}
	h := start(t, has)
	a := &account{now: map[string]float64{}, has: has}
	shapes := map[task.Class]map[string]float64{
		"cpu": {"cpu": 1}, "cpu=4": {"cpu": 4}, "cpu=0_25": {"cpu": 0.25}, "db": {"cpu": 1, "db": 1},
		"cpu=2-memory=512Mi": {"cpu": 2, "memory": 512 << 20}, "cpu=0-db": {"db": 1},
	}
	const each = 300
	from := uint64(1)
	for class, needs := range shapes {
		name := fmt.Sprint("f", from)
		h.define(name, func(context.Context, []byte) ([]byte, error) {
			a.add(t, needs, 1)
			runtime.Gosched() // so that others begin meanwhile
			a.add(t, needs, -1)
			return nil, nil
		})
		for range each / 10 { // many batches, so that classes take turns
			h.publish(class, name, numbered(from, 10)...)
			from += 10
		}
	}
	h.next(each * len(shapes))
	for name, n := range a.now {
		if n != 0 {
			t.Errorf("%v of %s is in use after the last task, want 0", n, name)
		}
	}
}

// A task of a large shape runs although tasks of a small shape never stop coming.
func TestLargeShapesAreNotStarved(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 2})
	var large atomic.Bool
	h.define("large", func(context.Context, []byte) ([]byte, error) { large.Store(true); return nil, nil })
	h.define("small", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	const each, limit = 50, 1000
	small := uint64(1000)
	h.publish("cpu", "small", numbered(small, each)...)
	h.publish("cpu=2", "large", numbered(1, 1)...)
	for round := 0; !large.Load(); round++ { // there are always about fifty small tasks
		if round == limit {
			t.Fatalf("%d small tasks ran and the large one did not, want it to run among them", limit*each)
		}
		small += each
		h.publish("cpu", "small", numbered(small, each)...)
		h.next(each)
	}
}

// The first task of a class runs, although tasks of another class have used all resources until then.
func TestANewClassGetsItsTurn(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 1})
	begun, end := make(chan struct{}), make(chan struct{})
	h.define("long", func(context.Context, []byte) ([]byte, error) { begun <- struct{}{}; <-end; return nil, nil })
	h.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	h.publish("cpu", "long", numbered(1, 1)...)
	receive(t, begun)
	h.publish("cpu=0_5", "f", numbered(2, 1)...)
	h.publish("cpu", "f", numbered(3, 1)...)
	close(end)
	h.next(3)
}

// An agent acks a batch when its record is stored, and not before: a crash in between would lose its tasks.
func TestABatchIsAckedOnceItIsRecorded(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 1})
	ran := make(chan struct{})
	h.define("f", func(context.Context, []byte) ([]byte, error) { close(ran); return nil, nil })
	conn, err := nats.Connect("", nats.InProcessServer(h.server))
	check(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	check(t, err)
	check(t, js.DeleteStream(h.ctx, "tm_log_0")) // no record can be stored
	h.publish("cpu", "f", numbered(1, 1)...)
	receive(t, ran)
	consumer, err := js.Consumer(h.ctx, "tm_b1_cpu", string(task.Normal))
	check(t, err)
	pending := func() int {
		info, err := consumer.Info(h.ctx)
		check(t, err)
		return info.NumAckPending
	}
	for range 500 { // as many round trips, in which a wrong ack would arrive
		if n := pending(); n != 1 {
			t.Fatalf("%d batches are not acked while no record can be stored, want 1", n)
		}
	}
	_, err = h.connect().OpenLog(h.ctx, h.broker.Log(owner)) // creates the stream again
	check(t, err)
	h.next(1)
	within(t, "the batch is acked, now that its record is stored", func() bool { return pending() == 0 })
}

// Agents remove the records from a log that its owner has read.
func TestTheAgentTrimsALog(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 1})
	log, err := h.broker.OpenLog(h.ctx, h.broker.Log("other"))
	check(t, err)
	check(t, log.Append(h.ctx, queues.Message{Data: []byte("read")}))
	last, err := log.Last(h.ctx)
	check(t, err)
	check(t, log.Append(h.ctx, queues.Message{Data: []byte("not read")}))
	table, err := h.broker.OpenTable(h.ctx, h.broker.Sessions())
	check(t, err)
	stream, err := log.Stream(h.ctx)
	check(t, err)
	created := stream.Created
	for _, row := range []lease.Row{ // the first two are about another log
		{Holder: "me", Trimmed: 99999, Created: created},
		{Holder: "me", Trimmed: last + 1, Created: created.Add(-time.Hour)},
		{Holder: "me", Trimmed: last, Created: created},
	} {
		value, err := json.Marshal(row)
		check(t, err)
		_, err = table.Put(h.ctx, "other", value)
		check(t, err)
	}
	within(t, `the log has the message "not read" alone`, func() bool {
		var left []string
		for e, err := range log.Read(h.ctx, 0) {
			check(t, err)
			left = append(left, string(e.Data))
		}
		if len(left) == 0 {
			t.Fatalf("the log is empty, want the message %q in it", "not read")
		}
		return slices.Equal(left, []string{"not read"})
	})
}

// Drain waits for the task that runs, and begins no other.
func TestDrainWaitsForRunningTasks(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 1})
	begun, end := make(chan struct{}, 10), make(chan struct{})
	h.define("f", func(context.Context, []byte) ([]byte, error) { begun <- struct{}{}; <-end; return []byte("done"), nil })
	h.publish("cpu", "f", numbered(1, 3)...)
	receive(t, begun)
	short, cancel := context.WithCancel(h.ctx)
	cancel()
	if err := h.agent.Drain(short); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain with a context that has ended, while a task runs: got the error %v, want %v", err, context.Canceled)
	}
	close(end)
	check(t, h.agent.Drain(h.ctx))
	if e := h.next(1)[1]; string(e.Value.Data) != "done" {
		t.Errorf("got the entry %+v, want the result \"done\"", e)
	}
	if len(begun) > 0 {
		t.Errorf("%d tasks began after Drain, want none", len(begun))
	}
}

// Close of an idle agent succeeds, even if its context has already ended.
func TestCloseOfAnIdleAgent(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 1})
	h.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	h.publish("cpu", "f", numbered(1, 1)...)
	h.next(1)
	over, cancel := context.WithCancel(h.ctx)
	cancel()
	check(t, h.agent.Close(over))
}

// A record has no more entries than its reader takes, however many tasks end while another record is on its way.
func TestRecordsHaveALimit(t *testing.T) {
	const n = 100_000
	total := 0
	for _, entries := range nodeagent.SealedWhileBusy(n) {
		if total += entries; entries > task.MaxSpecs {
			t.Errorf("a record has %d entries, want at most %d", entries, task.MaxSpecs)
		}
	}
	if total != n {
		t.Errorf("the records have %d entries, want %d", total, n)
	}
}
