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
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// Config says what an agent is.
type Config struct {
	NodeID    string            // [a-z0-9_-]{1,64}, unique in the cluster
	Resources task.Resources    // what its tasks may take, together
	Registry  *session.Registry // the functions that it can run
	Logger    *slog.Logger      // nil = slog.Default()
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
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
	recorder *recorder
	janitor  *janitor
	slots    *session.Slots
	known    uint64 // only tend; the registry's count of changes that the row tells of

	base   context.Context //nolint:containedctx // of all running tasks; ended by Close
	cancel context.CancelFunc
	begun  time.Time
	once   sync.Once     // of Close
	err    error         // of Close; set by once
	done   chan struct{} // closed by Close
	ended  chan struct{} // closed when tend has ended

	running sync.WaitGroup // slots
	blocked atomic.Int64   // when the oldest batch came that waits for what other classes hold; 0 = all slots are to end

	mu       sync.Mutex
	classes  map[task.Class]*class // guarded by mu
	order    []*class              // guarded by mu; by age of the oldest batch with unstarted tasks
	unserved []queues.Row          // guarded by mu; rows of classes that could not be opened yet
	draining bool                  // guarded by mu; takes nothing more, starts nothing more
}

// Start returns an agent that draws tasks. ctx bounds the starting.
func Start(ctx context.Context, b *queues.Broker, cfg Config) (*Agent, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("nodeagent: start: %w", err)
	}
	a := &Agent{
		cfg: cfg, broker: b, slots: session.NewSlots(cfg.Resources),
		classes: map[task.Class]*class{},
		begun:   time.Now(), done: make(chan struct{}), ended: make(chan struct{}),
	}
	a.blocked.Store(math.MaxInt64)
	a.base, a.cancel = context.WithCancel(context.Background())
	a.recorder = newRecorder(b, cfg, a.recorded, a.resume)
	a.janitor = &janitor{broker: b, log: cfg.Logger}
	if err := a.join(ctx); err != nil {
		a.cancel()
		a.leave(ctx)
		return nil, fmt.Errorf("nodeagent: start %s: %w", cfg.NodeID, err)
	}
	go a.tend()
	return a, nil
}

// join makes the agent known, and begins to watch for classes and sessions.
func (a *Agent) join(ctx context.Context) (err error) {
	node := directory.Node{ID: a.cfg.NodeID, Resources: a.cfg.Resources}
	node.Funcs, a.known = a.cfg.Registry.Names()
	if a.row, err = directory.Announce(ctx, a.broker, node); err != nil {
		return err
	}
	if _, err = a.broker.OpenLog(ctx, a.broker.Log(node.ID)); err != nil { // makes the stream of all logs
		return err
	}
	for _, w := range []struct {
		table  queues.TableName
		handle func(queues.Row)
	}{
		{a.broker.Classes(), a.serve},
		{a.broker.Sessions(), a.janitor.trim},
	} {
		table, err := a.broker.OpenTable(ctx, w.table)
		if err != nil {
			return err
		}
		watcher, err := table.Watch(ctx, w.handle)
		if err != nil {
			return err
		}
		a.watching = append(a.watching, watcher)
	}
	return nil
}

func (a *Agent) leave(ctx context.Context) {
	for _, w := range a.watching {
		w.Stop()
	}
	if a.row != nil {
		if err := a.row.Withdraw(ctx); err != nil {
			a.cfg.Logger.Warn("nodeagent: withdraw", "node", a.cfg.NodeID, "err", err)
		}
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
		case <-a.done:
			return
		}
		for _, c := range a.all() {
			c.puller.Tend()
			if n%extendEvery == 0 {
				a.extend(c)
			}
		}
		a.askAgain()
		a.serveAgain()
		a.recorder.prune()
		a.tell()
	}
}

// askAgain gives every class its credit, whatever became of what it had.
func (a *Agent) askAgain() {
	a.mu.Lock()
	defer a.mu.Unlock()
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

// tell updates the agent's row when functions were added.
func (a *Agent) tell() {
	funcs, changes := a.cfg.Registry.Names()
	if changes == a.known {
		return
	}
	ctx, cancel := context.WithTimeout(a.base, tendEvery)
	defer cancel()
	if err := a.row.Update(ctx, directory.Node{ID: a.cfg.NodeID, Resources: a.cfg.Resources, Funcs: funcs}); err != nil {
		a.cfg.Logger.Warn("nodeagent: update the row of the node", "err", err)
		return
	}
	a.known = changes
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

// Drain takes nothing more and starts nothing more, waits for what runs, and records it. If ctx ends
// first, the contexts of what runs are cancelled and an error says how many tasks that are.
func (a *Agent) Drain(ctx context.Context) error {
	a.mu.Lock()
	a.draining = true
	a.blocked.Store(0) // slots end after the task that they run
	for _, c := range a.order {
		c.puller.Stop()
	}
	a.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		a.running.Wait()
		a.recorder.flush()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	if n := a.slotsRunning(); n > 0 {
		a.cancel()
		return fmt.Errorf("nodeagent: drain %s: %d tasks are still running: %w", a.cfg.NodeID, n, ctx.Err())
	}
	last := time.NewTimer(tendEvery) // nothing runs: recording is all that is left
	defer last.Stop()
	select {
	case <-idle:
		return nil
	case <-last.C:
		return fmt.Errorf("nodeagent: drain %s: results are not recorded: %w", a.cfg.NodeID, ctx.Err())
	}
}

func (a *Agent) slotsRunning() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, c := range a.order {
		n += c.running
	}
	return n
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
	a.cancel()
	close(a.done)
	<-a.ended
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), tendEvery)
	defer cancel()
	a.leave(last)
	a.recorder.close()
	return err
}
