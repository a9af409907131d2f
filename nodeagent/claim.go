package nodeagent

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/queues"
)

// disposition is what an agent does with a batch that was delivered.
type disposition uint8

const (
	accept      disposition = iota // run it
	prepare                        // run it when it is ready: see prepare.go
	recordLost                     // record a loss of each of its tasks
	handBack                       // publish it again: this agent drains
	ackAgain                       // it is done with
	extendLease                    // this agent runs it already
	ignore                         // leave it under its lease
)

// delivered is what decides about a delivery.
type delivered struct {
	first      bool // the server has not delivered the message before
	draining   bool // the agent takes nothing more of the level
	held       bool // the agent holds the batch already: the lease has ended while it runs
	acked      bool // the agent has acked it: the ack got lost, or the server has forgotten it
	ownerEnded bool // nobody wants its results
	old        bool // it was published before this boot of the server, and may have been started
	risky      bool // agents were lost with its tasks, and the log outlives this one
	external   bool // inputs are to be fetched
}

// disposition decides what is done with a delivery.
func (d delivered) disposition() disposition {
	switch {
	case d.draining && d.first: // left to its lease, it would count as lost when it is redelivered
		return handBack
	case d.draining:
		return ignore
	case d.held:
		return extendLease
	case d.acked, d.ownerEnded:
		return ackAgain
	case !d.first:
		return recordLost
	case d.old, d.risky, d.external:
		return prepare
	}
	return accept
}

// claim takes a batch that was delivered. It runs on a goroutine of the connection.
func (a *Agent) claim(c *class, l *level, d *queues.Delivery) {
	failpoint.Hit("deliver.before")
	b := &batch{class: c, level: l, delivery: d, arrived: time.Since(a.began)}
	if err := b.decode(); err != nil {
		a.unreadable(c, d, err)
		return
	}
	if nested := a.nested.get(); nested != nil {
		b.own = b.Owner == nested.Owner()
	}
	u := a.lock()
	defer u.unlock()
	defer failpoint.Hit("deliver.after")
	what := a.looksAt(b).disposition()
	u.dispose(b, what)
	if what == handBack || what == ignore {
		return
	}
	if broken.AckFirst {
		_ = d.Ack()
	}
	u.pull(c)
	u.dispatch()
}

// looksAt returns what decides about a batch that was delivered. scheduler.mu is held.
func (a *Agent) looksAt(b *batch) delivered {
	c, l, d := b.class, b.level, b.delivery
	held := c.held[d.Sequence]
	if held != nil && held.delivery.Stored != d.Stored { // the server came back with older files, and uses the sequence again
		held.foreign.Store(true)
		delete(c.held, d.Sequence)
		held = nil
	}
	return delivered{
		first: d.Count == 1, draining: a.sched.draining && !a.sched.takes(l.name), held: held != nil, acked: c.acked.has(d),
		ownerEnded: a.owners.hasEnded(b.Owner), old: d.Sequence <= l.oldUpTo, risky: a.cfg.Durable && b.losses() > 0, external: b.hasExternal(),
	}
}

// dispose does what was decided.
func (u *change) dispose(b *batch, what disposition) {
	if what == accept || what == prepare || what == recordLost {
		b.class.held[b.delivery.Sequence] = b
	}
	switch what {
	case accept:
		u.accept(b)
	case prepare:
		u.a.sched.active++
		go u.a.prepare(b)
	case recordLost:
		u.a.recordLost(b)
	case handBack:
		u.handBack(b)
	case ackAgain:
		_ = b.delivery.Ack()
	case extendLease:
		_ = b.delivery.Extend()
	case ignore:
	}
}

// recordLost records a loss of all tasks of a batch that is redelivered, and runs none of them: what was
// recorded is not run again, and the owner publishes what is still open.
func (a *Agent) recordLost(b *batch) {
	for spec, _ := b.start(); spec != nil; spec, _ = b.start() { // one by one: with the last one the record is sent
		a.recorder.add(b, noteOf(spec, task.Lost))
	}
}

// recorded acks a batch of which everything is recorded.
func (a *Agent) recorded(b *batch) {
	b.pins.Release()
	a.sched.mu.Lock()
	if b.foreign.Load() {
		a.sched.mu.Unlock()
		return
	}
	delete(b.class.held, b.delivery.Sequence)
	b.class.acked.add(b.delivery)
	b.level.last = b.delivery
	a.sched.mu.Unlock()
	failpoint.Hit("ack.before")
	if broken.AckFirst {
		return
	}
	if err := b.delivery.Ack(); err != nil {
		a.cfg.Logger.Warn("nodeagent: ack a batch; the server will redeliver it", "class", b.class.name, "owner", b.Owner, "err", err)
	}
	failpoint.Hit("ack.after")
}

// unreadable writes a message that is no batch to the log of dead letters, with the reason, and acks it.
func (a *Agent) unreadable(c *class, d *queues.Delivery, why error) {
	a.cfg.Logger.Error("nodeagent: a message that is no batch", "class", c.name, "sequence", d.Sequence, "err", why)
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	defer cancel()
	dead, err := a.broker.OpenDead(ctx, string(c.name), "unreadable")
	if err == nil {
		room := a.broker.MaxPayload() - 8<<10 // for the headers
		err = dead.Append(ctx, queues.Message{Data: d.Data[:min(len(d.Data), room)], Header: queues.Header{
			"Tm-Reason": {task.OneLine(why.Error(), 1<<10)}, "Tm-Subject": {d.Subject}, "Tm-Sequence": {fmt.Sprint(d.Sequence)},
		}})
	}
	if err == nil {
		err = d.Ack()
	}
	if err != nil {
		a.cfg.Logger.Error("nodeagent: write a dead letter; the server will redeliver the message", "class", c.name, "sequence", d.Sequence, "err", err)
	}
	u := a.lock()
	defer u.unlock()
	u.pull(c)
}
