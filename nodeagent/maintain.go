package nodeagent

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// Every so often the agent looks after its leases, requests and row.
const (
	maintainEvery = time.Second
	extendEvery   = 4 // times maintainEvery: a third of a batch's lease and a little
)

// maintain is the maintenance goroutine: it keeps alive what the agent holds.
func (a *Agent) maintain() {
	defer close(a.ended)
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
		case <-a.presence.wake:
			a.announce(a.idleCPUs() > 0)
			continue
		case <-a.done:
			return
		}
		for _, c := range a.sched.all() {
			a.tendPullers(c)
			if n%extendEvery == 0 {
				a.extend(c)
			}
		}
		a.checkCancels()
		a.pullAll()
		a.serveAgain()
		a.recorder.prune()
		if s := a.nested.get(); s != nil {
			s.FailUnrunnable()
		}
		a.announce(false)
		a.janitor.work(a.base)
	}
}

func (a *Agent) tendPullers(c *class) {
	a.sched.mu.Lock()
	levels := c.levels
	a.sched.mu.Unlock()
	ctx, cancel := context.WithTimeout(a.base, maintainEvery)
	defer cancel()
	for _, l := range levels {
		if l != nil {
			l.puller.Maintain(ctx)
		}
	}
}

// extend begins the leases of all batches held anew.
func (a *Agent) extend(c *class) {
	a.sched.mu.Lock()
	held := make([]*batch, 0, len(c.held))
	for _, b := range c.held {
		held = append(held, b)
	}
	a.sched.mu.Unlock()
	for _, b := range held {
		_ = b.delivery.Extend() // if it is lost, the next one comes before the lease ends
	}
}

// pullAll gives every class its credit, whatever became of what it had.
func (a *Agent) pullAll() {
	u := a.lock()
	defer u.unlock()
	u.pullAll()
}

// serveAgain tries the classes again that could not be opened.
func (a *Agent) serveAgain() {
	for _, row := range a.sched.takeUnserved() {
		a.serve(row)
	}
}

// cancelFeed is the agent's watch of the table of cancels: an agent that may not know what is cancelled starts nothing.
type cancelFeed struct {
	watcher *queues.Watcher
	isStale atomic.Bool // written by the maintenance goroutine
}

// staleAfter is how long an agent goes on that does not know whether it knows what is cancelled.
const staleAfter = 10 * time.Second

// stale reports whether the agent may not know what is cancelled.
func (f *cancelFeed) stale() bool { return f.isStale.Load() }

// checkCancels looks whether the agent knows what is cancelled, and goes on when it does again.
func (a *Agent) checkCancels() {
	stale := time.Since(a.cancels.watcher.Confirmed()) > staleAfter
	if was := a.cancels.isStale.Swap(stale); was == stale {
		return
	}
	if stale {
		a.cfg.Logger.Warn("nodeagent: the table of cancels has not answered, so that it is not known what is cancelled: starting nothing",
			"node", a.cfg.NodeID, "for", staleAfter)
		return
	}
	a.dispatch()
}

// presence is what other nodes are told of this one: its row in the table of nodes, and announcements of idle CPUs in it.
type presence struct {
	row   *directory.Row
	wake  wait.Signal // the row is to announce idle CPUs
	timer *time.Timer // calls announceIdle

	changes uint64    // only the maintenance goroutine; the registry's count of changes in the row
	lost    int       // only the maintenance goroutine; in the row
	at      time.Time // only the maintenance goroutine; when the row was written

	pause   time.Duration // guarded by scheduler.mu; until idle CPUs are announced again
	cpuFree bool          // guarded by scheduler.mu; a CPU was free when slots were last looked at
}

func newPresence() presence { return presence{wake: wait.NewSignal()} }

// describe returns what the node's row is to say, and notes that for announce.
func (a *Agent) describe() directory.Node {
	p := &a.presence
	n := directory.Node{ID: a.cfg.NodeID, Resources: a.cfg.Resources, Boot: a.cfg.Boot, Lost: a.sched.lostSlots(), Idle: a.idleCPUs()}
	n.Funcs, p.changes = a.cfg.Registry.Names()
	p.lost, p.at = n.Lost, time.Now()
	return n
}

// announce updates the agent's row: now and then, so that it is seen to live, and when there is something to say.
func (a *Agent) announce(news bool) {
	p := &a.presence
	_, changes := a.cfg.Registry.Names()
	news = news || changes != p.changes || a.sched.lostSlots() != p.lost
	if !news && time.Since(p.at) < directory.BeatEvery {
		return
	}
	ctx, cancel := context.WithTimeout(a.base, maintainEvery)
	defer cancel()
	if err := p.row.Update(ctx, a.describe()); err != nil && a.base.Err() == nil {
		p.at = time.Time{}
		a.cfg.Logger.Warn("nodeagent: update the row of the node", "node", a.cfg.NodeID, "err", err)
	}
}

// idleFor is for how long CPUs are idle before an agent announces them to the others. If they stay so, it announces them
// again, ever more rarely, since what was given away for them may have come to another node.
const idleFor = 20 * time.Millisecond

// noteIdle begins to announce idle CPUs when one becomes free. scheduler.mu is held.
func (a *Agent) noteIdle() {
	p, free := &a.presence, a.sched.slots.Free(oneCPU) > 0
	if free && !p.cpuFree && a.nodes.Count() > 1 && a.base.Err() == nil {
		p.pause = idleFor
		p.timer.Reset(p.pause)
	}
	p.cpuFree = free
}

// announceIdle has the node's row say that it has idle CPUs, if it still has.
func (a *Agent) announceIdle() {
	if a.idleCPUs() == 0 {
		return
	}
	p := &a.presence
	p.wake.Set()
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	if p.pause *= 2; p.pause < directory.BeatEvery && a.base.Err() == nil {
		p.timer.Reset(p.pause)
	}
}

// idleCPUs returns how many CPUs are free while nothing on this node could be run on them.
func (a *Agent) idleCPUs() int {
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	if a.sched.childrenOnly() {
		return 0
	}
	for _, c := range a.sched.order {
		if c.startable(false) > 0 {
			return 0
		}
	}
	return a.sched.slots.Free(oneCPU)
}
