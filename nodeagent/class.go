package nodeagent

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/mean"
	"github.com/tidemill/tidemill/queues"
)

// class is the agent's end of one class: what it pulls there, and what of that was not started yet.
type class struct {
	agent  *Agent
	name   task.Class
	shape  task.Resources
	cpus   task.Resources   // of the shape: what a task yields while it waits
	env    *session.ExecEnv // of its attempts; fixed
	levels levels           // guarded by scheduler.mu

	held      map[uint64]*batch // guarded by scheduler.mu; batches not acked, by sequence
	acked     acked             // guarded by scheduler.mu
	running   int               // guarded by scheduler.mu; slots
	barred    time.Time         // guarded by scheduler.mu; nothing is pulled before: what it needs is lost for now
	runTime   mean.Moving       // guarded by scheduler.mu; how long a task runs
	contended atomic.Bool       // more than one level has tasks, and they are worth a choice for each
}

// levels are the queues of a class by rank; nil where nothing was published yet.
type levels [len(task.Levels)]*level

// runTimeWindow is over how many looks at a slot's tasks the mean of their run times moves.
const runTimeWindow = 4

func newClass(a *Agent, name task.Class, shape task.Resources) *class {
	cpus, kept := shape.Split()
	return &class{
		agent: a, name: name, shape: shape, cpus: cpus, held: map[uint64]*batch{}, runTime: mean.New(runTimeWindow),
		env: &session.ExecEnv{
			Base: a.base, Node: a.cfg.NodeID, Log: a.cfg.taskLog, Host: a, Class: name, Plain: len(kept) == 0, Held: kept,
		},
	}
}

// level is one queue of a class.
type level struct {
	name    task.Level
	queue   *queues.Queue
	puller  *queues.Puller
	last    *queues.Delivery // guarded by scheduler.mu; acked last, nil if none was
	oldUpTo uint64           // batches up to this sequence are from before this boot of the server, and may have been started
	todo    []*batch         // guarded by scheduler.mu; batches with tasks that were not started, oldest first
	pass    uint64           // guarded by scheduler.mu; see pick
}

// acked are the batches that were acked last: one that is redelivered all the same is acked again.
type acked struct {
	recent [1024]message
	next   int
	newest uint64 // the greatest sequence that was ever added
}

// message identifies a message: another stream of the same name may use its sequence.
type message struct {
	sequence uint64
	stored   int64
}

func (a *acked) add(d *queues.Delivery) {
	a.recent[a.next] = message{d.Sequence, d.Stored}
	a.next = (a.next + 1) % len(a.recent)
	a.newest = max(a.newest, d.Sequence)
}

// has looks through all, unless the message comes in its order: then its sequence is greater than any before.
func (a *acked) has(d *queues.Delivery) bool {
	return d.Sequence <= a.newest && slices.Contains(a.recent[:], message{d.Sequence, d.Stored})
}

// unstarted returns how many tasks are held and were not started. scheduler.mu is held.
func (l *level) unstarted() int {
	n := 0
	for _, b := range l.todo {
		n += b.unstarted()
	}
	return n
}

// apiTimeout bounds the requests that serving a class takes.
const apiTimeout = 10 * time.Second

// serve begins to pull from a class and level that the table of classes names, if a task of it fits this node.
func (a *Agent) serve(row queues.Row) {
	name, at, ok := session.ParseClassKey(row.Key)
	shape, err := name.Parse()
	rank := at.Rank()
	if row.Deleted || !ok || err != nil || task.Levels[rank] != at || !shape.Fits(a.cfg.Resources) {
		return
	}
	ctx, cancel := context.WithTimeout(a.base, apiTimeout)
	defer cancel()
	l := &level{name: at}
	l.queue, err = a.broker.OpenQueue(ctx, a.broker.Batches(string(name), string(at)))
	if err == nil && a.cfg.Durable {
		l.oldUpTo, err = l.queue.Last(ctx)
	}
	u := a.lock()
	defer u.unlock()
	if err != nil {
		a.cfg.Logger.Warn("nodeagent: serve a class; trying again", "class", name, "level", at, "err", err)
		a.sched.unserved = append(a.sched.unserved, row)
		return
	}
	c := a.sched.classes[name]
	if c == nil {
		c = newClass(a, name, shape)
	}
	if c.levels[rank] != nil || a.sched.draining && at != task.Child { // tasks that run may wait for children
		return
	}
	if a.sched.classes[name] == nil {
		a.sched.classes[name] = c
		a.sched.order = append(a.sched.order, c)
	}
	l.puller = l.queue.Pull(func(d *queues.Delivery) { a.claim(c, l, d) })
	c.levels[rank] = l
	u.pull(c)
}

// Levels share the slots of a class by stride scheduling (Waldspurger and Weihl, 1995): of the levels
// with tasks, the one goes next that has had least for its weight. So none is starved.
var strides = [len(task.Levels)]uint64{1, 4, 16, 64}

// pick returns the level from which the next task is to be started, nil if there is none; only says that it is to
// be one of children, if not all are taken. scheduler.mu is held.
func (c *class) pick(only bool) *level {
	var next *level
	for _, l := range c.levels {
		if l == nil || only && !c.agent.sched.takes(l.name) {
			continue
		}
		for len(l.todo) > 0 && l.todo[0].unstarted() == 0 {
			l.todo[0] = nil
			l.todo = l.todo[1:]
		}
		if len(l.todo) > 0 && (next == nil || l.pass < next.pass) {
			next = l
		}
	}
	return next
}

// pass returns the least pass of the levels with tasks. scheduler.mu is held.
func (c *class) pass() uint64 {
	if l := c.pick(false); l != nil {
		return l.pass
	}
	return 0
}

// worthAChoice is how long tasks take for which a level is chosen one by one. For shorter ones a level is chosen by the
// batch, which is a matter of milliseconds.
const worthAChoice = time.Millisecond

// contend notes whether levels compete. scheduler.mu is held.
func (c *class) contend() {
	busy := 0
	for _, l := range c.levels {
		if l != nil && len(l.todo) > 0 {
			busy++
		}
	}
	c.contended.Store(busy > 1 && (!c.runTime.Known() || c.runTime.Value() > worthAChoice))
}

// levelsServed returns in how many levels tasks were published. scheduler.mu is held.
func (c *class) levelsServed() (n int) {
	for _, l := range c.levels {
		if l != nil {
			n++
		}
	}
	return n
}

// since returns when the oldest batch with unstarted tasks came; a class without one comes last. scheduler.mu is held.
func (c *class) since() time.Duration {
	since := time.Duration(math.MaxInt64)
	for _, l := range c.levels {
		if l != nil && len(l.todo) > 0 {
			since = min(since, l.todo[0].arrived)
		}
	}
	return since
}

// startable returns how many tasks there are that could be started. scheduler.mu is held.
func (c *class) startable(only bool) int {
	n := c.children().Len()
	for _, l := range c.levels {
		if l != nil && (!only || c.agent.sched.takes(l.name)) {
			n += l.unstarted()
		}
	}
	return n
}

// children are those of the class that wait on this agent, of the agent's session.
func (c *class) children() *session.LocalQueue {
	if s := c.agent.nested.get(); s != nil {
		return s.LocalQueue(c.name)
	}
	return &noChildren
}

var noChildren session.LocalQueue

// accept puts a batch where slots find it.
func (u *change) accept(b *batch) {
	s := &u.a.sched
	if b.alone() && s.hasAlone() { // what is held while another kills this agent would be lost with it
		u.handBack(b)
		return
	}
	if b.alone() {
		s.alone = append(s.alone, b)
		return
	}
	l := b.level
	if len(l.todo) == 0 {
		l.pass = max(l.pass, b.class.pass())
	}
	l.todo = append(l.todo, b)
	l.watch()
	b.class.contend()
}
