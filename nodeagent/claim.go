package nodeagent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/internal/broken"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/queues"
)

// class is the agent's end of one class: what it draws there, and what of that was not started yet.
type class struct {
	agent  *Agent
	name   task.Class
	shape  task.Resources
	lent   task.Resources           // of the shape: what a task lends while it waits
	place  *session.ExecEnv         // of its attempts; fixed
	levels [len(task.Levels)]*level // guarded by Agent.mu; by rank; nil if nothing was published there yet

	held      map[uint64]*batch // guarded by Agent.mu; batches not acked, by sequence
	acked     acked             // guarded by Agent.mu
	running   int               // guarded by Agent.mu; slots
	barred    time.Time         // guarded by Agent.mu; nothing is drawn before: what it needs is lost for now
	mean      time.Duration     // guarded by Agent.mu; moving mean of how long a task runs; 0 = not known
	contended atomic.Bool       // more than one level has tasks, and they are worth a choice for each
}

// acked are the batches that were acked last: one that comes again all the same is acked again.
type acked struct {
	recent [1024]message
	next   int
	newest uint64 // the greatest sequence that was ever added
}

// message is one message for sure: another stream of the same name may have its sequence.
type message struct {
	sequence uint64
	stored   int64
}

func (a *acked) add(d *queues.Delivery) {
	a.recent[a.next] = message{d.Sequence, d.Stored}
	a.next = (a.next + 1) % len(a.recent)
	a.newest = max(a.newest, d.Sequence)
}

// has looks through all, but for what comes in its order: its sequence is greater than any before.
func (a *acked) has(d *queues.Delivery) bool {
	return d.Sequence <= a.newest && slices.Contains(a.recent[:], message{d.Sequence, d.Stored})
}

// level is one queue of a class.
type level struct {
	name   task.Level
	queue  *queues.Queue
	puller *queues.Puller
	last   *queues.Delivery // guarded by Agent.mu; acked last, nil if none was
	old    uint64           // batches up to this sequence are of before this boot, and may have been started
	todo   []*batch         // guarded by Agent.mu; batches with tasks that were not started, oldest first
	pass   uint64           // guarded by Agent.mu; see pick
}

// batch is a batch of tasks that this agent has leased.
type batch struct {
	task.Batch
	class    *class
	level    *level
	delivery *queues.Delivery
	came     time.Duration          // since the agent began
	mine     bool                   // its owner is this agent's own session; set before it is accepted
	noted    bool                   // a start is recorded of each of its tasks; set before it is accepted
	brought  map[uint64]*task.Value // inputs whose bytes are at hand now, by task; set before it is accepted
	pins     values.Pins            // of them
	foreign  atomic.Bool            // the stream has another message under its sequence: it is not to be acked
	low      atomic.Int64           // index of the spec at whose start the class is to ask for more
	next     atomic.Int64           // index of the next spec to start
	left     atomic.Int64           // specs that are not recorded
}

// unstarted returns how many specs were not started.
func (b *batch) unstarted() int { return max(0, len(b.Specs)-int(b.next.Load())) }

// wasLost reports whether agents were lost with a task of the batch.
func (b *batch) wasLost() bool {
	return slices.ContainsFunc(b.Specs, func(s task.Spec) bool { return s.Losses > 0 })
}

// alone reports whether nothing may run beside the batch: it may kill its agent.
func (b *batch) alone() bool {
	for i := range b.Specs {
		if b.Specs[i].Losses >= graph.Alone {
			return true
		}
	}
	return false
}

// unstarted returns how many tasks are held and were not started. Agent.mu is held.
func (l *level) unstarted() int {
	n := 0
	for _, b := range l.todo {
		n += b.unstarted()
	}
	return n
}

// apiTimeout bounds the requests that serving a class takes.
const apiTimeout = 10 * time.Second

// serve begins to draw from a class and level of which the table tells, if a task of it fits this node.
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
		l.old, err = l.queue.Last(ctx)
	}
	a.mu.Lock()
	defer a.unlock()
	if err != nil {
		a.cfg.Logger.Warn("nodeagent: serve a class; trying again", "class", name, "level", at, "err", err)
		a.unserved = append(a.unserved, row)
		return
	}
	c := a.classes[name]
	if c == nil {
		c = &class{agent: a, name: name, shape: shape, held: map[uint64]*batch{}}
		lent, kept := shape.Split()
		c.lent, c.place = lent, &session.ExecEnv{
			Base: a.base, Node: a.cfg.NodeID, Log: a.cfg.Logger, Host: a, Class: name, Plain: len(kept) == 0, Held: kept,
		}
	}
	if c.levels[rank] != nil || a.draining && at != task.Child { // tasks that run may wait for children
		return
	}
	if a.classes[name] == nil {
		a.classes[name] = c
		a.order = append(a.order, c)
	}
	l.puller = l.queue.Pull(func(d *queues.Delivery) { a.claim(c, l, d) })
	c.levels[rank] = l
	a.ask(c)
}

// claim takes a batch that was delivered. It runs on a goroutine of the connection.
func (a *Agent) claim(c *class, l *level, d *queues.Delivery) {
	failpoint.Hit("deliver.before")
	b := &batch{class: c, level: l, delivery: d, came: time.Since(a.begun)}
	if err := b.decode(); err != nil {
		a.bury(c, d, err)
		return
	}
	if nested := a.nested.Load(); nested != nil {
		b.mine = b.Owner == nested.Owner()
	}
	a.mu.Lock()
	defer a.unlock()
	defer failpoint.Hit("deliver.after")
	if held := c.held[d.Sequence]; held != nil && held.delivery.Stored != d.Stored { // the server came back with older files
		held.foreign.Store(true)
		delete(c.held, d.Sequence)
	}
	draining := a.draining && !a.takes(l.name)
	switch {
	case draining && d.Count == 1: // given back to the server, it would count as lost when it comes again
		a.handBack(b)
		return
	case draining:
		return
	case c.held[d.Sequence] != nil: // its lease ended under us, and it runs: it is ours again
		_ = d.Extend()
	case c.acked.has(d): // the ack got lost, or the server has forgotten
		_ = d.Ack()
	case a.owners.hasEnded(b.Owner): // nobody wants it
		_ = d.Ack()
	case d.Count > 1:
		c.held[d.Sequence] = b
		a.noteLost(b)
	case d.Sequence <= l.old, a.cfg.Durable && b.wasLost(), b.hasExternal():
		c.held[d.Sequence] = b
		a.active++
		go a.prepare(b)
	default:
		c.held[d.Sequence] = b
		a.accept(b)
	}
	if broken.AckFirst {
		_ = d.Ack()
	}
	a.ask(c)
	a.dispatch()
}

// accept puts a batch where slots find it. mu is held.
func (a *Agent) accept(b *batch) {
	if b.alone() && a.hasAlone() { // what is held while another kills this agent would be lost with it
		a.handBack(b)
		return
	}
	if b.alone() {
		a.alone = append(a.alone, b)
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

// Levels share the slots of a class by stride scheduling (Waldspurger and Weihl, 1995): of the levels
// with tasks, the one goes next that has had least for its weight. So none is starved.
var strides = [len(task.Levels)]uint64{1, 4, 16, 64}

// pick returns the level from which the next task is to be started, nil if there is none; only says that it is to
// be one of children, if not all are taken. mu is held.
func (c *class) pick(only bool) *level {
	var next *level
	for _, l := range c.levels {
		if l == nil || only && !c.agent.takes(l.name) {
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

// pass returns the least pass of the levels with tasks. mu is held.
func (c *class) pass() uint64 {
	if l := c.pick(false); l != nil {
		return l.pass
	}
	return 0
}

// worthAChoice is how long tasks take for which a level is chosen one by one. Those of shorter ones are
// chosen by the batch, which is a matter of milliseconds.
const worthAChoice = time.Millisecond

// contend notes whether levels compete. mu is held.
func (c *class) contend() {
	busy := 0
	for _, l := range c.levels {
		if l != nil && len(l.todo) > 0 {
			busy++
		}
	}
	c.contended.Store(busy > 1 && (c.mean == 0 || c.mean > worthAChoice))
}

// levelsServed returns in how many levels tasks were published. mu is held.
func (c *class) levelsServed() (n int) {
	for _, l := range c.levels {
		if l != nil {
			n++
		}
	}
	return n
}

// decode reads the batch, and refuses what cannot have come from a session: an owner without a log, a
// function without a name, another class than the queue's.
func (b *batch) decode() error {
	if err := task.DecodeBatch(b.delivery.Data, &b.Batch); err != nil {
		return err
	}
	if b.Class != b.class.name {
		return fmt.Errorf("nodeagent: a batch of class %q", b.Class)
	}
	for i := range b.Calls {
		if err := task.CheckName("function", b.Calls[i].Func); err != nil {
			return err
		}
	}
	b.Owner = strings.Clone(b.Owner) // it is part of the ID that functions see, and may outlive the batch
	b.left.Store(int64(len(b.Specs)))
	return task.CheckOwner(b.Owner)
}

// noteLost notes all tasks of a batch that comes a second time as lost, and runs none of them: what was
// recorded is not run again, and the owner publishes what is still open.
func (a *Agent) noteLost(b *batch) {
	for spec, _ := b.start(); spec != nil; spec, _ = b.start() {
		a.recorder.add(b, noteOf(spec, task.Lost))
	}
}

// recorded acks a batch of which everything is recorded.
func (a *Agent) recorded(b *batch) {
	b.pins.Release()
	a.mu.Lock()
	if b.foreign.Load() {
		a.mu.Unlock()
		return
	}
	delete(b.class.held, b.delivery.Sequence)
	b.class.acked.add(b.delivery)
	b.level.last = b.delivery
	a.mu.Unlock()
	failpoint.Hit("ack.before")
	if broken.AckFirst {
		return
	}
	if err := b.delivery.Ack(); err != nil {
		a.cfg.Logger.Warn("nodeagent: ack", "class", b.class.name, "err", err)
	}
	failpoint.Hit("ack.after")
}

// bury keeps a message that is no batch as a dead letter, with the reason, and acks it.
func (a *Agent) bury(c *class, d *queues.Delivery, why error) {
	a.cfg.Logger.Error("nodeagent: a message that is no batch", "class", c.name, "sequence", d.Sequence, "err", why)
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	defer cancel()
	dead, err := a.broker.OpenDead(ctx, string(c.name), "unreadable")
	if err == nil {
		reason := strings.NewReplacer("\r", " ", "\n", " ").Replace(task.Clip(why.Error(), 1<<10))
		room := a.broker.MaxPayload() - 8<<10 // for the headers
		err = dead.Append(ctx, queues.Message{Data: d.Data[:min(len(d.Data), room)], Header: queues.Header{
			"Tm-Reason": {reason}, "Tm-Subject": {d.Subject}, "Tm-Sequence": {fmt.Sprint(d.Sequence)},
		}})
	}
	if err == nil {
		err = d.Ack()
	}
	if err != nil {
		a.cfg.Logger.Error("nodeagent: keep a dead letter; the message comes again", "err", err)
	}
	a.mu.Lock()
	defer a.unlock()
	a.ask(c)
}

// What an agent holds beyond what runs bridges the way to the queue and back, some milliseconds on a
// machine that was idle; and what it holds nobody else can run. So it holds about so much work, by
// expected run times; or one batch a slot, if that is more and its tasks are no longer than bridged, where
// the way would cost a hundredth and more of the slots' time.
const (
	ahead   = 5 * time.Millisecond // of work a slot
	bridged = 250 * time.Millisecond
)

// ask gives the class's pullers the credit for as many batches as can be used. mu is held, and who holds it gives it up by
// unlock.
func (a *Agent) ask(c *class) {
	if a.deaf() || time.Now().Before(c.barred) {
		return
	}
	for _, l := range c.levels {
		if l != nil && a.takes(l.name) {
			a.askLevel(c, l)
		}
	}
}

// mostAhead bounds how many batches a slot draws ahead.
const mostAhead = 4

// batchesAhead returns how many batches a slot draws ahead: one, and more of tasks so short that even full batches are
// little work, since each request is a message. The next tasks may be longer, and what was asked for is taken back only
// when they have stood in the way for a while: where there are other agents, it is one. Agent.mu is held.
func (c *class) batchesAhead() int {
	if c.agent.nodes.Count() > 1 {
		return 1
	}
	return int(min(mostAhead, max(1, ahead/(session.BatchTasks*max(1, c.mean)))))
}

// lead returns how many tasks that have not begun a level has at least, or more are asked for. Agent.mu is held.
func (c *class) lead() int {
	if c.mean == 0 || c.mean > bridged {
		return 0
	}
	work := ahead * time.Duration(c.shape.Times(c.agent.cfg.Resources))
	return int((work + c.mean - 1) / c.mean)
}

// watch has the slots of the batch that is run, the oldest one, ask for more when the level has less than its lead. Agent.mu
// is held.
func (l *level) watch() {
	b := l.todo[0]
	others := l.unstarted() - b.unstarted()
	b.low.Store(int64(len(b.Specs) + others - b.class.lead()))
}

// askLevel asks for one batch a free slot, and some ahead. mu is held.
func (a *Agent) askLevel(c *class, l *level) {
	unstarted := l.unstarted()
	slots := c.shape.Times(a.cfg.Resources)
	want := 0
	if unstarted == 0 {
		want = a.slots.Free(c.shape)
		if c.running == 0 || c.levelsServed() > 1 {
			want = max(want, 1) // while others hold everything: what is not drawn can not wait its turn
		}
	}
	if unstarted < c.lead() && !c.stuck() {
		want += slots * c.batchesAhead()
	}
	credit := l.puller.Credit()
	if want <= credit || want-credit < (want+1)/2 {
		return // small requests cost as much as large ones
	}
	l.puller.AddCredit(want - credit)
	a.asking = append(a.asking, l.puller)
}

// unlock gives mu up, and asks for what credit was given for: the connection may be busy for a while, and slots are not to
// wait for it.
func (a *Agent) unlock() {
	asking := a.asking
	a.asking = nil
	a.mu.Unlock()
	for _, p := range asking {
		if err := p.Request(); err != nil {
			a.cfg.Logger.Warn("nodeagent: pull", "err", err)
		}
	}
}
