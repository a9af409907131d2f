package nodeagent

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// class is the agent's end of one class: what it draws there, and what of that was not started yet.
type class struct {
	name   task.Class
	shape  task.Resources
	puller *queues.Puller

	held    map[uint64]*batch // guarded by Agent.mu; batches not acked, by sequence
	todo    []*batch          // guarded by Agent.mu; batches with tasks that were not started, oldest first
	running int               // guarded by Agent.mu; slots
	mean    time.Duration     // guarded by Agent.mu; moving mean of how long a task runs; 0 = not known
}

// batch is a batch of tasks that this agent has leased.
type batch struct {
	task.Batch
	class    *class
	delivery *queues.Delivery
	came     time.Duration // since the agent began
	next     atomic.Int64  // index of the next spec to start
	left     atomic.Int64  // specs that are not recorded
}

// unstarted returns how many specs were not started.
func (b *batch) unstarted() int { return max(0, len(b.Specs)-int(b.next.Load())) }

// unstarted returns how many tasks are held and were not started. Agent.mu is held.
func (c *class) unstarted() int {
	n := 0
	for _, b := range c.todo {
		n += b.unstarted()
	}
	return n
}

// apiTimeout bounds the requests that serving a class takes.
const apiTimeout = 10 * time.Second

// serve begins to draw from a class of which the table tells, if a task of it fits this node.
func (a *Agent) serve(row queues.Row) {
	name := task.Class(row.Value)
	shape, err := name.Parse()
	if row.Deleted || err != nil || !shape.Fits(a.cfg.Resources) {
		return
	}
	ctx, cancel := context.WithTimeout(a.base, apiTimeout)
	defer cancel()
	queue, err := a.broker.OpenQueue(ctx, a.broker.Batches(string(name), string(task.Normal)))
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.cfg.Logger.Warn("nodeagent: serve a class; trying again", "class", name, "err", err)
		a.unserved = append(a.unserved, row)
		return
	}
	if a.classes[name] != nil || a.draining {
		return
	}
	c := &class{name: name, shape: shape, held: map[uint64]*batch{}}
	c.puller = queue.Pull(func(d *queues.Delivery) { a.claim(c, d) })
	a.classes[name] = c
	a.order = append(a.order, c)
	a.ask(c)
}

// claim takes a batch that was delivered. It runs on a goroutine of the connection.
func (a *Agent) claim(c *class, d *queues.Delivery) {
	b := &batch{class: c, delivery: d, came: time.Since(a.begun)}
	if err := b.decode(); err != nil {
		a.bury(c, d, err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.draining {
		_ = d.Nak()
		return
	}
	if c.held[d.Sequence] != nil { // its lease ended under us, and it runs: it is ours again
		_ = d.Extend()
		a.ask(c)
		return
	}
	c.held[d.Sequence] = b
	if d.Count > 1 {
		a.noteLost(b)
		a.ask(c)
		return
	}
	c.todo = append(c.todo, b)
	a.ask(c)
	a.dispatch()
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
	return task.CheckName("owner", b.Owner)
}

// noteLost notes all tasks of a batch that comes a second time as lost, and runs none of them: what was
// recorded is not run again, and the owner publishes what is still open.
func (a *Agent) noteLost(b *batch) {
	for spec := b.start(); spec != nil; spec = b.start() {
		a.recorder.add(b, &task.Entry{Number: spec.Number, State: task.Lost, Attempt: spec.Attempt, Losses: spec.Losses})
	}
}

// recorded acks a batch of which everything is recorded.
func (a *Agent) recorded(b *batch) {
	a.mu.Lock()
	delete(b.class.held, b.delivery.Sequence)
	a.mu.Unlock()
	if err := b.delivery.Ack(); err != nil {
		a.cfg.Logger.Warn("nodeagent: ack", "class", b.class.name, "err", err)
	}
}

// bury keeps a message that is no batch as a dead letter, with the reason, and acks it.
func (a *Agent) bury(c *class, d *queues.Delivery, why error) {
	a.cfg.Logger.Error("nodeagent: a message that is no batch", "class", c.name, "sequence", d.Sequence, "err", why)
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	defer cancel()
	dead, err := a.broker.OpenLog(ctx, a.broker.Dead(string(c.name), "unreadable"), queues.Rolling(64<<20, 7*24*time.Hour))
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
	defer a.mu.Unlock()
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

// ask gives the class's puller the credit for as many batches as can be used: one a free slot, and one a
// slot ahead. mu is held.
func (a *Agent) ask(c *class) {
	if a.draining {
		return
	}
	unstarted := c.unstarted()
	slots := c.shape.Times(a.cfg.Resources)
	want := 0
	if unstarted == 0 {
		want = a.slots.Free(c.shape)
		if c.running == 0 {
			want = max(want, 1) // while other classes hold everything: what is not drawn can not wait its turn
		}
	}
	if 0 < c.mean && c.mean <= bridged && time.Duration(unstarted)*c.mean < ahead*time.Duration(slots) {
		want += slots
	}
	credit := c.puller.Credit()
	if want <= credit || want-credit < (want+1)/2 {
		return // small requests cost as much as large ones
	}
	if err := c.puller.Ask(want - credit); err != nil {
		a.cfg.Logger.Warn("nodeagent: pull", "class", c.name, "err", err)
	}
}
