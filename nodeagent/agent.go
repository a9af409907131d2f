package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/queues"
)

// Config says what an agent is.
type Config struct {
	NodeID    string             // [a-z0-9_-]{1,64}, unique in the cluster
	Resources task.Resources     // what all of its tasks together may take
	Registry  *registry.Registry // the functions that it can run
	Objects   *objstore.Store    // of values that are too large for messages; nil = there is none
	Logger    *slog.Logger       // nil = slog.Default()

	Boot    string // of the embedded server; "" = of a server that lives on its own
	Durable bool   // streams outlive that server: batches of a former boot may be half done
	Unclean bool   // the embedded server's former boot did not end: what it had started may have been running

	// Values is a context whose values functions find in theirs. Its end means nothing. nil = none.
	Values context.Context //nolint:containedctx // for its values

	// Grace is how long a task may run on after its context has ended. After that it is abandoned. 0 = 10 s.
	Grace time.Duration

	taskLog *slog.Logger // Logger as it was given, for the functions that run
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
		errs = append(errs, errors.New("its resources have no cpu, and an agent needs CPUs"))
	}
	if c.Registry == nil {
		errs = append(errs, errors.New("it has no registry of functions"))
	}
	return errors.Join(errs...)
}

// Agent executes tasks on one machine. It is made by Start and ends by Close. See the package's comment for its parts.
type Agent struct {
	cfg    Config
	broker *queues.Broker
	values values.Store
	nodes  *directory.Nodes
	base   context.Context //nolint:containedctx // of all running tasks; ended by Close
	cancel context.CancelFunc
	began  time.Time

	ending atomic.Bool // the contexts of what runs have ended, or are about to

	sched    scheduler
	workers  workers
	recorder *recorder
	nested   nestedSession
	owners   owners
	cancels  cancelFeed
	presence presence
	janitor  *janitor
	former   *formerBoots
	watchers []*queues.Watcher
	fetching wait.Lock   // held while the inputs of a batch are fetched
	cutTimer *time.Timer // calls giveAway

	once  sync.Once     // of Close
	err   error         // of Close; set by once
	done  chan struct{} // closed by Close
	ended chan struct{} // closed when the maintenance goroutine has ended
}

// Start returns an agent that pulls tasks. ctx bounds the starting.
func Start(ctx context.Context, b *queues.Broker, cfg Config) (*Agent, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("nodeagent: start %s: %w", cfg.NodeID, err)
	}
	done := make(chan struct{})
	cfg.taskLog, cfg.Logger = cfg.Logger, queues.Quiet(cfg.Logger, done)
	a := &Agent{
		cfg: cfg, broker: b, values: values.Store{Objects: cfg.Objects, Most: values.Max(b.MaxPayload())},
		began: time.Now(), workers: newWorkers(done), former: newFormerBoots(),
		nested: nestedSession{opening: wait.NewLock()}, presence: newPresence(), fetching: wait.NewLock(),
		done: done, ended: make(chan struct{}),
	}
	a.sched.init(cfg.Resources)
	a.presence.timer, a.cutTimer = stoppedTimer(a.announceIdle), stoppedTimer(a.giveAway)
	a.base, a.cancel = context.WithCancel(context.WithoutCancel(cfg.Values))
	a.recorder = newRecorder(b, cfg, a.recorded, a.dispatch)
	a.janitor = newJanitor(b, cfg)
	if err := a.join(ctx); err != nil {
		a.cancel()
		close(a.done)
		a.leave(ctx)
		return nil, fmt.Errorf("nodeagent: start %s: %w", cfg.NodeID, err)
	}
	go a.maintain()
	return a, nil
}

func stoppedTimer(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// join makes the agent known, and begins to watch for classes and sessions.
func (a *Agent) join(ctx context.Context) (err error) {
	if a.presence.row, err = directory.Announce(ctx, a.broker, a.describe()); err != nil {
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
		{a.broker.Sessions(), a.sessionChanged, nil},
		{a.broker.Cancels(), a.cancelled, []queues.TableOption{queues.Aging(session.CancelsAge)}},
		{a.broker.Nodes(), a.janitor.node, nil},
		{a.broker.Classes(), a.serve, nil}, // last: what is pulled needs to know the others
	} {
		table, err := a.broker.OpenTable(ctx, w.table, w.opts...)
		if err != nil {
			return err
		}
		watcher, err := table.Watch(ctx, w.handle)
		if err != nil {
			return err
		}
		a.watchers = append(a.watchers, watcher)
		if w.table == a.broker.Cancels() {
			a.cancels.watcher = watcher
		}
	}
	return nil
}

func (a *Agent) leave(ctx context.Context) {
	a.unwatch()
	if a.presence.row != nil {
		if err := a.presence.row.Withdraw(ctx); err != nil {
			a.cfg.Logger.Warn("nodeagent: withdraw the row of the node", "node", a.cfg.NodeID, "err", err)
		}
	}
}

func (a *Agent) unwatch() {
	for _, w := range a.watchers {
		w.Stop()
	}
	if a.nodes != nil {
		a.nodes.Close()
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
	a.sched.mu.Lock()
	a.sched.stopPulling(anyLevel)
	a.sched.mu.Unlock()
	a.stop()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), maintainEvery)
	defer cancel()
	a.closeNested(last)
	a.leave(last)
	a.recorder.close()
	return err
}

// stop ends the contexts of what runs, and the agent's own goroutine and timers.
func (a *Agent) stop() {
	a.cancel()
	close(a.done)
	<-a.ended
	a.presence.timer.Stop()
	a.cutTimer.Stop()
}

// Kill ends the agent as the death of its process would: nothing is recorded, acked, handed back or
// withdrawn any more. The contexts of what runs end. It is for tests, together with a cut of the broker's
// connection. A Close afterwards does nothing.
func (a *Agent) Kill() {
	a.once.Do(func() {
		a.recorder.close()
		a.sched.mu.Lock()
		a.sched.draining = true
		a.sched.endSlots()
		a.sched.stopPulling(anyLevel)
		a.sched.mu.Unlock()
		a.stop()
		a.nested.opening.Lock() // for good
		if s := a.nested.get(); s != nil {
			s.Abandon()
		}
		a.unwatch()
	})
}

// Idle reports whether the agent holds nothing: no batch, no slot, nothing to record. For tests.
func (a *Agent) Idle() bool {
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	for _, c := range a.sched.order {
		if len(c.held) > 0 || c.running > 0 || c.children().Len() > 0 {
			return false
		}
	}
	s := &a.sched
	return s.active == 0 && s.lost == 0 && len(s.alone) == 0 && a.recorder.settled() && s.slots.All()
}
