package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/queues"
)

// Config says what an agent is.
type Config struct {
	NodeID    string             // [a-z0-9_-]{1,64}, unique in the cluster
	Resources task.Resources     // what its tasks may take, together
	Registry  *registry.Registry // the functions that it can run
	Objects   *objstore.Store    // of values that are too large for messages; nil = there is none
	Logger    *slog.Logger       // nil = slog.Default()

	Boot    string // of the embedded server; "" = of a server that lives on its own
	Durable bool   // streams outlive that server: what a former boot has left may be half done
	Unclean bool   // the embedded server's former boot did not end: what it had started may have been running

	// Values is a context whose values functions find in theirs. Its end means nothing. nil = none.
	Values context.Context //nolint:containedctx // for its values

	// Grace is how long a task may run on after its context has ended. After that it is abandoned. 0 = 10 s.
	Grace time.Duration
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	if c.Values == nil {
		c.Values = context.Background()
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if err := task.CheckName("node", c.NodeID); err != nil {
		errs = append(errs, err)
	}
	if c.Resources.Of(task.CPU) <= 0 {
		errs = append(errs, errors.New("a node needs some CPU"))
	}
	if c.Registry == nil {
		errs = append(errs, errors.New("no registry of functions"))
	}
	return errors.Join(errs...)
}

// Agent executes tasks on one machine. It is made by Start and ends by Close.
type Agent struct {
	cfg      Config
	broker   *queues.Broker
	row      *directory.Row
	watching []*queues.Watcher
	cancels  *queues.Watcher // one of them
	isDeaf   atomic.Bool     // set by tend
	ending   atomic.Bool     // the contexts of what runs have ended, or are about to
	recorder *recorder
	janitor  *janitor
	owners   owners
	former   *former
	slots    *slots
	values   values.Store
	hands    chan func()   // to goroutines that have run a slot, and wait for another
	fetching chan struct{} // has a token while the inputs of a batch are brought
	told     told          // only tend

	base   context.Context //nolint:containedctx // of all running tasks; ended by Close
	cancel context.CancelFunc
	begun  time.Time
	once   sync.Once     // of Close
	err    error         // of Close; set by once
	done   chan struct{} // closed by Close
	ended  chan struct{} // closed when tend has ended

	nested    atomic.Pointer[session.Session] // that owns what tasks of this agent submit; nil before the first
	opening   chan struct{}                   // has a token while that is opened, and after its end
	waiting   atomic.Int64                    // tasks that lend their slots
	hungry    atomic.Bool                     // there is room for another task
	idleHands atomic.Int32                    // goroutines that wait for hands

	nodes     *directory.Nodes
	idleTimer *time.Timer   // calls tellIdle
	kick      chan struct{} // has a token when the row is to tell of idle CPUs
	cutTimer  *time.Timer   // calls giveAway

	blocked atomic.Int64 // when the oldest batch came that waits for what other classes hold; 0 = all slots are to end

	mu       sync.Mutex
	classes  map[task.Class]*class // guarded by mu
	order    []*class              // guarded by mu; by age of the oldest batch with unstarted tasks
	asking   []*queues.Puller      // guarded by mu; that have credit for which nobody has asked yet; see unlock
	unserved []queues.Row          // guarded by mu; rows of classes that could not be opened yet
	idle     time.Duration         // guarded by mu; until idle CPUs are told again
	spare    bool                  // guarded by mu; a CPU is free
	draining bool                  // guarded by mu; takes nothing more, starts nothing more
	slotsRun map[*slot]bool        // guarded by mu; slots but for the abandoned

	unsettled map[*execution]bool // guarded by mu; attempts that ran, whose results refer to tasks that are not over
	alone     []*batch            // guarded by mu; batches that wait until nothing else runs
	solo      bool                // guarded by mu; one of them runs
	lost      int                 // guarded by mu; slots whose tasks ignore that they are to end
	active    int                 // guarded by mu; what a drain waits for
	quiet     chan struct{}       // guarded by mu; closed when active is 0; nil if nobody waits
}

// told is what the node's row says.
type told struct {
	changes uint64 // the registry's count
	lost    int
	at      time.Time
}

// Start returns an agent that draws tasks. ctx bounds the starting.
func Start(ctx context.Context, b *queues.Broker, cfg Config) (*Agent, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("nodeagent: start: %w", err)
	}
	a := &Agent{
		cfg: cfg, broker: b, slots: newSlots(cfg.Resources),
		classes: map[task.Class]*class{}, slotsRun: map[*slot]bool{},
		hands: make(chan func()), fetching: make(chan struct{}, 1), values: values.Store{Objects: cfg.Objects, Most: values.Max(b.MaxPayload())},
		former: newFormer(), begun: time.Now(), done: make(chan struct{}), ended: make(chan struct{}),
		opening: make(chan struct{}, 1), kick: make(chan struct{}, 1), unsettled: map[*execution]bool{},
	}
	a.idleTimer, a.cutTimer = stoppedTimer(a.tellIdle), stoppedTimer(a.giveAway)
	a.blocked.Store(math.MaxInt64)
	a.base, a.cancel = context.WithCancel(context.WithoutCancel(cfg.Values))
	a.recorder = newRecorder(b, cfg, a.recorded, a.resume)
	a.janitor = newJanitor(b, cfg)
	if err := a.join(ctx); err != nil {
		a.cancel()
		close(a.done)
		a.leave(ctx)
		return nil, fmt.Errorf("nodeagent: start %s: %w", cfg.NodeID, err)
	}
	go a.tend()
	return a, nil
}

func stoppedTimer(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// join makes the agent known, and begins to watch for classes and sessions.
func (a *Agent) join(ctx context.Context) (err error) {
	if a.row, err = directory.Announce(ctx, a.broker, a.node()); err != nil {
		return err
	}
	if _, err = a.broker.OpenLog(ctx, a.broker.Log(a.cfg.NodeID)); err != nil { // makes the stream of all logs
		return err
	}
	if err = a.janitor.open(ctx); err != nil {
		return err
	}
	if a.nodes, err = directory.WatchNodes(ctx, a.broker, a.cfg.Logger); err != nil {
		return err
	}
	a.nodes.Notify(a.giveAway)
	for _, w := range []struct {
		table  queues.TableName
		handle func(queues.Row)
		opts   []queues.TableOption
	}{
		{a.broker.Sessions(), a.session, nil},
		{a.broker.Cancels(), a.cancelled, []queues.TableOption{queues.Aging(session.CancelsAge)}},
		{a.broker.Nodes(), a.janitor.node, nil},
		{a.broker.Classes(), a.serve, nil}, // last: what is drawn is to find the others
	} {
		table, err := a.broker.OpenTable(ctx, w.table, w.opts...)
		if err != nil {
			return err
		}
		watcher, err := table.Watch(ctx, w.handle)
		if err != nil {
			return err
		}
		a.watching = append(a.watching, watcher)
		if w.table == a.broker.Cancels() {
			a.cancels = watcher
		}
	}
	return nil
}

func (a *Agent) leave(ctx context.Context) {
	a.unwatch()
	if a.row != nil {
		if err := a.row.Withdraw(ctx); err != nil {
			a.cfg.Logger.Warn("nodeagent: withdraw", "node", a.cfg.NodeID, "err", err)
		}
	}
}

func (a *Agent) unwatch() {
	for _, w := range a.watching {
		w.Stop()
	}
	if a.nodes != nil {
		a.nodes.Close()
	}
}

// Every so often the agent looks after its leases, requests and row.
const (
	tendEvery   = time.Second
	extendEvery = 4 // times tendEvery: a third of the lease and a little
)

// tend keeps alive what an agent holds.
func (a *Agent) tend() {
	defer close(a.ended)
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
		case <-a.kick:
			a.tell(a.idleCPUs() > 0)
			continue
		case <-a.done:
			return
		}
		for _, c := range a.all() {
			a.tendPullers(c)
			if n%extendEvery == 0 {
				a.extend(c)
			}
		}
		a.listen()
		a.askAgain()
		a.serveAgain()
		a.recorder.prune()
		if s := a.nested.Load(); s != nil {
			s.FailUnrunnable()
		}
		a.tell(false)
		a.janitor.work(a.base)
	}
}

func (a *Agent) tendPullers(c *class) {
	a.mu.Lock()
	levels := c.levels
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(a.base, tendEvery)
	defer cancel()
	for _, l := range levels {
		if l != nil {
			l.puller.Tend(ctx)
		}
	}
}

// deafAfter is how long an agent goes on that does not know whether it knows what is cancelled.
const deafAfter = 10 * time.Second

// deaf reports whether the agent may not know what is cancelled: then it starts nothing.
func (a *Agent) deaf() bool { return a.isDeaf.Load() }

// listen looks whether the agent knows what is cancelled, and goes on when it does again.
func (a *Agent) listen() {
	deaf := time.Since(a.cancels.Confirmed()) > deafAfter
	if was := a.isDeaf.Swap(deaf); was == deaf {
		return
	}
	if deaf {
		a.cfg.Logger.Warn("nodeagent: it is not known what is cancelled: starting nothing", "node", a.cfg.NodeID)
		return
	}
	a.resume()
}

// askAgain gives every class its credit, whatever became of what it had.
func (a *Agent) askAgain() {
	a.mu.Lock()
	defer a.unlock()
	for _, c := range a.order {
		a.ask(c)
	}
}

// serveAgain tries the classes again that could not be opened.
func (a *Agent) serveAgain() {
	a.mu.Lock()
	rows := a.unserved
	a.unserved = nil
	a.mu.Unlock()
	for _, row := range rows {
		a.serve(row)
	}
}

func (a *Agent) all() []*class {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]*class(nil), a.order...)
}

// node returns what the node's row is to say, and notes that for tell.
func (a *Agent) node() directory.Node {
	n := directory.Node{ID: a.cfg.NodeID, Resources: a.cfg.Resources, Boot: a.cfg.Boot}
	n.Funcs, a.told.changes = a.cfg.Registry.Names()
	a.mu.Lock()
	n.Lost = a.lost
	a.mu.Unlock()
	n.Idle = a.idleCPUs()
	a.told.lost, a.told.at = n.Lost, time.Now()
	return n
}

// tell updates the agent's row: now and then, so that it is seen to live, and when there is something to say.
func (a *Agent) tell(news bool) {
	_, changes := a.cfg.Registry.Names()
	a.mu.Lock()
	lost := a.lost
	a.mu.Unlock()
	news = news || changes != a.told.changes || lost != a.told.lost
	if !news && time.Since(a.told.at) < directory.BeatEvery {
		return
	}
	ctx, cancel := context.WithTimeout(a.base, tendEvery)
	defer cancel()
	if err := a.row.Update(ctx, a.node()); err != nil && a.base.Err() == nil {
		a.told.at = time.Time{}
		a.cfg.Logger.Warn("nodeagent: update the row of the node", "err", err)
	}
}

// extend begins the leases of all batches held anew.
func (a *Agent) extend(c *class) {
	a.mu.Lock()
	held := make([]*batch, 0, len(c.held))
	for _, b := range c.held {
		held = append(held, b)
	}
	a.mu.Unlock()
	for _, b := range held {
		_ = b.delivery.Extend() // if it is lost, the next one comes before the lease ends
	}
}

// Close drains the agent, and ends it when nothing runs any more. If ctx ends first, it returns an error;
// functions that ignore their cancelled contexts are left behind with their goroutines. Closing again
// returns what the first Close did.
func (a *Agent) Close(ctx context.Context) error {
	a.once.Do(func() { a.err = a.close(ctx) })
	return a.err
}

func (a *Agent) close(ctx context.Context) error {
	err := a.Drain(ctx)
	a.mu.Lock()
	a.stopDrawing(anyLevel)
	a.mu.Unlock()
	a.cancel()
	close(a.done)
	<-a.ended
	a.idleTimer.Stop()
	a.cutTimer.Stop()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), tendEvery)
	defer cancel()
	a.closeNested(last)
	a.leave(last)
	a.recorder.close()
	return err
}

// Kill ends the agent as the death of its process would: nothing is recorded, acked, handed back or
// withdrawn any more. The contexts of what runs end. It is for tests, together with a cut of the broker's
// connection. A Close afterwards does nothing.
func (a *Agent) Kill() {
	a.once.Do(func() {
		a.recorder.close()
		a.mu.Lock()
		a.draining = true
		a.blocked.Store(0)
		a.stopDrawing(anyLevel)
		a.mu.Unlock()
		a.cancel()
		close(a.done)
		<-a.ended
		a.idleTimer.Stop()
		a.cutTimer.Stop()
		a.opening <- struct{}{}
		if s := a.nested.Load(); s != nil {
			s.Abandon()
		}
		a.unwatch()
	})
}

// Idle reports whether the agent holds nothing: no batch, no slot, nothing to record. For tests.
func (a *Agent) Idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.order {
		if len(c.held) > 0 || c.running > 0 || c.children().Len() > 0 {
			return false
		}
	}
	return a.active == 0 && a.lost == 0 && len(a.alone) == 0 && a.recorder.settle() && a.slots.All()
}
