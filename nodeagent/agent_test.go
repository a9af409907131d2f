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
	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/nodeagent"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// The server's clock for message ages must run outside of every bubble of virtual time.
func TestMain(m *testing.M) {
	ats.Register()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// bench is a server, an agent, and an owner's end of the wire in the hands of the test.
type bench struct {
	*testing.T
	ctx      context.Context //nolint:containedctx // the test's
	server   *embedded.Server
	broker   *queues.Broker
	registry *registry.Registry
	agent    *nodeagent.Agent
	entries  chan task.Entry
}

const owner = "me"

func start(t *testing.T, resources map[string]float64) *bench {
	t.Helper()
	server, err := embedded.Start(embedded.Config{})
	check(t, err)
	t.Cleanup(server.Close)
	b := &bench{T: t, ctx: t.Context(), server: server, registry: registry.New(), entries: make(chan task.Entry, 200_000)}
	b.broker = b.connect()
	b.agent = b.startAgent("n1", resources)
	log, err := b.broker.OpenLog(b.ctx, b.broker.Log(owner))
	check(t, err)
	follower, err := log.Follow(b.ctx, 0, b.read)
	check(t, err)
	t.Cleanup(follower.Close)
	return b
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) connect() *queues.Broker {
	b.Helper()
	broker, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: b.server})
	check(b.T, err)
	b.Cleanup(broker.Close)
	return broker
}

func (b *bench) startAgent(node string, amounts map[string]float64) *nodeagent.Agent {
	b.Helper()
	resources, err := task.NewResources(amounts)
	check(b.T, err)
	agent, err := nodeagent.Start(b.ctx, b.connect(), nodeagent.Config{NodeID: node, Resources: resources, Registry: b.registry})
	check(b.T, err)
	b.Cleanup(func() { // bounded, for a test that has failed
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = agent.Close(ctx)
	})
	return agent
}

func (b *bench) read(e queues.LogEntry) {
	var rec task.Record
	if err := task.DecodeRecord(e.Data, &rec); err != nil {
		b.Error(err)
	}
	for _, entry := range rec.Entries {
		entry.Value.Data = slices.Clone(entry.Value.Data)
		b.entries <- entry
	}
}

// define registers a function from bytes to bytes.
func (b *bench) define(name string, fn func(ctx context.Context, in []byte) ([]byte, error)) {
	b.Helper()
	check(b.T, b.registry.Add(&registry.Function{Name: name, Invoke: func(ctx context.Context, in *task.Value, dst []byte) (task.Value, error) {
		out, err := fn(ctx, in.Data)
		return task.Value{Data: append(dst, out...)}, err
	}}))
}

// publish sends specs of one function to a class, which it makes known first.
func (b *bench) publish(class task.Class, fn string, specs ...task.Spec) {
	b.Helper()
	table, err := b.broker.OpenTable(b.ctx, b.broker.Classes())
	check(b.T, err)
	queue, err := b.broker.OpenQueue(b.ctx, b.broker.Batches(string(class), string(task.Normal)))
	check(b.T, err)
	_, err = table.Put(b.ctx, session.ClassKey(class, task.Normal), []byte(class))
	check(b.T, err)
	for i := range specs {
		specs[i].Attempt = max(1, specs[i].Attempt)
	}
	batch := &task.Batch{Owner: owner, Class: class, Level: task.Normal, Calls: []task.Call{{Func: fn}}, Specs: specs}
	check(b.T, queue.Publish(b.ctx, queues.Message{Data: task.AppendBatch(nil, batch)}))
}

func numbered(from, n uint64) []task.Spec {
	specs := make([]task.Spec, n)
	for i := range specs {
		specs[i].Number = from + uint64(i)
	}
	return specs
}

// next returns the next n entries by number.
func (b *bench) next(n int) map[uint64]task.Entry {
	b.Helper()
	got := map[uint64]task.Entry{}
	for range n {
		select {
		case e := <-b.entries:
			got[e.Number] = e
		case <-time.After(time.Minute):
			b.Fatalf("only %d of %d entries came", len(got), n)
		}
	}
	return got
}

func TestAgentRecordsEveryTaskOfABatch(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 2})
	b.define("f", func(_ context.Context, in []byte) ([]byte, error) {
		if in[0] == 3 {
			return nil, errors.New("three")
		}
		return in, nil
	})
	specs := numbered(1, 100)
	for i := range specs {
		specs[i].Input.Data = []byte{byte(i)}
	}
	b.publish("cpu", "f", specs...)
	for number, e := range b.next(100) {
		switch {
		case number == 4:
			if e.State != task.Failed || e.Failure.Message != "three" {
				t.Errorf("%+v", e)
			}
		case e.State != task.OK || e.Value.Data[0] != byte(number-1):
			t.Errorf("%+v", e)
		}
	}
}

func TestAgentRefusesWhatItDoesNotKnow(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 2})
	b.publish("cpu", "gone", task.Spec{Number: 7, Dispatch: task.Dispatch{Attempt: 2, Losses: 1}})
	if e := b.next(1)[7]; e.State != task.Refused || e.Attempt != 2 || e.Losses != 1 {
		t.Errorf("%+v", e)
	}
}

// What comes a second time is not run: another agent may have it, or may have died of it.
func TestAgentNotesWhatComesAgainAsLost(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 2})
	var runs atomic.Int64
	b.define("f", func(context.Context, []byte) ([]byte, error) { runs.Add(1); return nil, nil })
	queue, err := b.broker.OpenQueue(b.ctx, b.broker.Batches("gpu", string(task.Normal)))
	check(t, err)
	first := make(chan *queues.Delivery, 1)
	puller := queue.Pull(func(d *queues.Delivery) { first <- d })
	check(t, puller.Ask(1))
	b.publish("gpu", "f", numbered(1, 3)...) // this agent has no gpu: the batch comes to the test
	d := <-first
	puller.Stop()
	b.startAgent("n2", map[string]float64{"cpu": 1, "gpu": 1})
	check(t, d.Nak())
	for number, e := range b.next(3) {
		if e.State != task.Lost || e.Attempt != 1 {
			t.Errorf("task %d: %+v", number, e)
		}
	}
	if runs.Load() != 0 {
		t.Errorf("%d runs", runs.Load())
	}
}

// What comes again does not use up the credit of an idle agent.
func TestAgentGoesOnAfterWhatComesAgain(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 1})
	b.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	queue, err := b.broker.OpenQueue(b.ctx, b.broker.Batches("db", string(task.Normal)))
	check(t, err)
	came := make(chan *queues.Delivery, 10)
	puller := queue.Pull(func(d *queues.Delivery) { came <- d })
	check(t, puller.Ask(5))
	for i := range uint64(5) {
		b.publish("db", "f", numbered(1+i, 1)...)
	}
	var held []*queues.Delivery
	for range 5 {
		held = append(held, <-came)
	}
	puller.Stop()
	b.startAgent("n2", map[string]float64{"cpu": 1, "db": 1})
	for _, d := range held {
		check(t, d.Nak())
	}
	b.next(5)
	b.publish("db", "f", numbered(10, 1)...)
	if e := b.next(1)[10]; e.State != task.OK {
		t.Errorf("%+v", e)
	}
}

// A message that is no batch is kept as a dead letter with its reason, and the agent goes on.
func TestAgentSurvivesHostileMessages(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 2})
	b.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	b.publish("cpu", "f", numbered(1, 1)...)
	b.next(1)
	queue, err := b.broker.OpenQueue(b.ctx, b.broker.Batches("cpu", string(task.Normal)))
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
		make([]byte, b.broker.MaxPayload()),
	}
	for _, data := range hostile {
		check(t, queue.Publish(b.ctx, queues.Message{Data: data}))
	}
	for _, status := range []string{"100", "404", "408", "409", "503"} { // as the server's own messages have
		check(t, queue.Publish(b.ctx, queues.Message{Header: queues.Header{"Status": {status}}}))
		hostile = append(hostile, nil)
	}
	b.publish("cpu", "f", numbered(2, 1)...)
	if e := b.next(1)[2]; e.State != task.OK {
		t.Errorf("%+v", e)
	}
	dead, err := b.broker.OpenLog(b.ctx, b.broker.Dead("cpu", "unreadable"), queues.Rolling(64<<20, 7*24*time.Hour))
	check(t, err)
	for letters := 0; letters != len(hostile); { // they are buried beside the batches
		letters = 0
		for e, err := range dead.Read(b.ctx, 0) {
			check(t, err)
			if letters++; e.Header.Get("Tm-Reason") == "" {
				t.Fatalf("no reason: %+v", e)
			}
		}
	}
}

func TestAgentIgnoresHostileRows(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 2})
	b.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	for _, name := range []queues.TableName{b.broker.Classes(), b.broker.Sessions(), b.broker.Nodes()} {
		table, err := b.broker.OpenTable(b.ctx, name)
		check(t, err)
		for i, row := range []string{"", "null", "{", "cpu=1", "cpu=", `{"trimmed":-1}`, `{"trimmed":18446744073709551615}`} {
			_, err := table.Put(b.ctx, fmt.Sprint("row", i), []byte(row))
			check(t, err)
		}
	}
	b.publish("cpu", "f", numbered(1, 1)...)
	b.next(1)
}

func TestNodeIDIsTakenOnce(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 1})
	resources, err := task.NewResources(map[string]float64{"cpu": 1})
	check(t, err)
	_, err = nodeagent.Start(b.ctx, b.connect(), nodeagent.Config{NodeID: "n1", Resources: resources, Registry: b.registry})
	if err == nil {
		t.Error("two agents under one name")
	}
}

// account counts what runs, and fails the test when it is more than there is.
type account struct {
	mu   sync.Mutex
	now  map[string]float64
	peak map[string]float64
	has  map[string]float64
}

func (a *account) add(t *testing.T, needs map[string]float64, sign float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, n := range needs {
		a.now[name] += sign * n
		a.peak[name] = max(a.peak[name], a.now[name])
		if a.now[name] > a.has[name] {
			t.Errorf("%v of %s taken, there are %v", a.now[name], name, a.has[name])
		}
	}
}

// Slots are never overdrawn, whatever shapes run beside each other, and all of them run in the end.
func TestSlotsAreNeverOverdrawn(t *testing.T) {
	has := map[string]float64{"cpu": 4, "memory": 1 << 30, "db": 2}
	b := start(t, has)
	a := &account{now: map[string]float64{}, peak: map[string]float64{}, has: has}
	shapes := map[task.Class]map[string]float64{
		"cpu": {"cpu": 1}, "cpu=4": {"cpu": 4}, "cpu=0_25": {"cpu": 0.25}, "db": {"cpu": 1, "db": 1},
		"cpu=2-memory=512Mi": {"cpu": 2, "memory": 512 << 20}, "cpu=0-db": {"db": 1},
	}
	const each = 300
	from := uint64(1)
	for class, needs := range shapes {
		name := fmt.Sprint("f", from)
		b.define(name, func(context.Context, []byte) ([]byte, error) {
			a.add(t, needs, 1)
			runtime.Gosched()
			a.add(t, needs, -1)
			return nil, nil
		})
		for range each / 10 { // many batches, so that classes take turns
			b.publish(class, name, numbered(from, 10)...)
			from += 10
		}
	}
	b.next(each * len(shapes))
	for name, n := range a.now {
		if n != 0 {
			t.Errorf("%v of %s are still taken", n, name)
		}
	}
}

// A large shape runs although small ones never stop coming.
func TestLargeShapesAreNotStarved(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 2})
	var large atomic.Bool
	b.define("large", func(context.Context, []byte) ([]byte, error) { large.Store(true); return nil, nil })
	b.define("small", func(context.Context, []byte) ([]byte, error) { runtime.Gosched(); return nil, nil })
	small, after := uint64(1000), 0
	b.publish("cpu", "small", numbered(small, 50)...)
	b.publish("cpu=2", "large", numbered(1, 1)...)
	for waiting := 50; !large.Load(); waiting-- { // there are always fifty or so
		small += 50
		b.publish("cpu", "small", numbered(small, 50)...)
		b.next(50)
		if after++; after > 1000 {
			t.Fatal("fifty thousand small tasks ran, and the large one not")
		}
	}
}

// A class that begins while others hold everything gets its turn.
func TestAClassBeginsBesideABusyOne(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 1})
	begun, end := make(chan struct{}), make(chan struct{})
	b.define("long", func(context.Context, []byte) ([]byte, error) { begun <- struct{}{}; <-end; return nil, nil })
	b.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	b.publish("cpu", "long", numbered(1, 1)...)
	<-begun
	b.publish("cpu=0_5", "f", numbered(2, 1)...)
	b.publish("cpu", "f", numbered(3, 1)...)
	end <- struct{}{}
	b.next(3)
}

// A batch is acked when its record is stored, and not before: else a crash in between loses its tasks.
func TestABatchIsAckedOnceItIsRecorded(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 1})
	ran := make(chan struct{})
	b.define("f", func(context.Context, []byte) ([]byte, error) { close(ran); return nil, nil })
	conn, err := nats.Connect("", nats.InProcessServer(b.server))
	check(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	check(t, err)
	check(t, js.DeleteStream(b.ctx, "tm_log_0")) // no record can be stored
	b.publish("cpu", "f", numbered(1, 1)...)
	<-ran
	consumer, err := js.Consumer(b.ctx, "tm_b1_cpu", string(task.Normal))
	check(t, err)
	pending := func() int {
		info, err := consumer.Info(b.ctx)
		check(t, err)
		return info.NumAckPending
	}
	for range 500 { // round trips: an ack would have come by then
		if pending() != 1 {
			t.Fatal("acked, and nothing is recorded")
		}
	}
	_, err = b.connect().OpenLog(b.ctx, b.broker.Log(owner)) // makes the stream again
	check(t, err)
	b.next(1)
	for pending() != 0 { // now it is
		runtime.Gosched()
	}
}

// What an owner has read is removed from its log.
func TestTheAgentTrimsWhatWasRead(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 1})
	log, err := b.broker.OpenLog(b.ctx, b.broker.Log("other"))
	check(t, err)
	check(t, log.Append(b.ctx, queues.Message{Data: []byte("read")}))
	last, err := log.Last(b.ctx)
	check(t, err)
	check(t, log.Append(b.ctx, queues.Message{Data: []byte("not read")}))
	table, err := b.broker.OpenTable(b.ctx, b.broker.Sessions())
	check(t, err)
	stream, err := log.Stream(b.ctx)
	check(t, err)
	created := stream.Created
	for _, row := range []lease.Row{ // the first two are not of this log
		{Holder: "me", Trimmed: 99999, Created: created},
		{Holder: "me", Trimmed: last + 1, Created: created.Add(-time.Hour)},
		{Holder: "me", Trimmed: last, Created: created},
	} {
		value, err := json.Marshal(row)
		check(t, err)
		_, err = table.Put(b.ctx, "other", value)
		check(t, err)
	}
	for left := []string(nil); !slices.Equal(left, []string{"not read"}); {
		left = nil
		for e, err := range log.Read(b.ctx, 0) {
			check(t, err)
			left = append(left, string(e.Data))
		}
		if len(left) == 0 {
			t.Fatal("more was removed than was read")
		}
	}
}

// Drain starts nothing more, and waits for what runs.
func TestDrainWaitsForWhatRuns(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 1})
	begun, end := make(chan struct{}, 10), make(chan struct{})
	b.define("f", func(context.Context, []byte) ([]byte, error) { begun <- struct{}{}; <-end; return []byte("done"), nil })
	b.publish("cpu", "f", numbered(1, 3)...)
	<-begun
	short, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := b.agent.Drain(short); !errors.Is(err, context.Canceled) {
		t.Errorf("drained while a task runs: %v", err)
	}
	close(end)
	check(t, b.agent.Drain(b.ctx))
	if e := b.next(1)[1]; string(e.Value.Data) != "done" {
		t.Errorf("%+v", e)
	}
	if len(begun) > 0 {
		t.Error("another task was started")
	}
}

// Drain of an idle agent is no error, even if its context is over already.
func TestDrainOfAnIdleAgent(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 1})
	b.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	b.publish("cpu", "f", numbered(1, 1)...)
	b.next(1)
	over, cancel := context.WithCancel(b.ctx)
	cancel()
	check(t, b.agent.Close(over))
}

// A record holds no more entries than its reader takes, however many end while one is on its way.
func TestRecordsAreCut(t *testing.T) {
	const n = 100_000
	total := 0
	for _, entries := range nodeagent.SealedWhileBusy(n) {
		if total += entries; entries > task.MaxSpecs {
			t.Errorf("a record of %d entries, and readers take %d", entries, task.MaxSpecs)
		}
	}
	if total != n {
		t.Errorf("%d of %d entries", total, n)
	}
}
