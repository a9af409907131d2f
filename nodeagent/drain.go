package nodeagent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// Drain takes nothing more and starts nothing more, hands back what was not started, waits for what runs,
// and records it. If ctx ends first, the contexts of what runs are cancelled and an error says how many
// tasks that are.
func (a *Agent) Drain(ctx context.Context) error {
	quiet := a.beginDrain()
	idle := make(chan struct{})
	go func() {
		<-quiet
		a.recorder.flush()
		a.confirm()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	if n := a.tasksRunning(); n > 0 {
		a.ending.Store(true)
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

// confirmWithin bounds how long confirm waits.
const confirmWithin = 2 * time.Second

// confirm returns when the server has worked off the last acks: of a batch whose ack is lost with the server,
// what was handed back of it would run twice.
func (a *Agent) confirm() {
	ctx, cancel := context.WithTimeout(a.base, confirmWithin)
	defer cancel()
	var last []*queues.Delivery
	a.mu.Lock()
	for _, c := range a.order {
		for _, l := range c.levels {
			if l != nil && l.last != nil {
				last = append(last, l.last)
			}
		}
	}
	a.mu.Unlock()
	for _, d := range last {
		if err := d.Confirm(ctx); err != nil {
			a.cfg.Logger.Warn("nodeagent: drain: the last acks are not confirmed", "err", err)
			return
		}
	}
}

// beginDrain stops drawing, and returns a channel that is closed when nothing runs and everything else is
// handed back. To abandon an agent and its drain, the channel is closed too.
func (a *Agent) beginDrain() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.draining = true
	a.blocked.Store(0)                                                 // slots end after the task that they run
	a.stopDrawing(func(l *level) bool { return l.name != task.Child }) // tasks that run may wait for children
	a.handBackAll()
	for _, b := range a.alone {
		a.handBack(b)
	}
	a.alone = nil
	if a.quiet == nil {
		a.quiet = make(chan struct{})
	}
	quiet := a.quiet
	if a.active == 0 {
		close(quiet)
		a.quiet = nil
	}
	return quiet
}

// stopDrawing ends the drawing of such levels. mu is held.
func (a *Agent) stopDrawing(of func(*level) bool) {
	for _, c := range a.order {
		for _, l := range c.levels {
			if l != nil && of(l) {
				l.puller.Stop()
			}
		}
	}
}

func anyLevel(*level) bool { return true }

// handBackAll hands back what was not started, but for batches that are to run alone. mu is held.
func (a *Agent) handBackAll() {
	for _, c := range a.order {
		for _, l := range c.levels {
			if l == nil {
				continue
			}
			if l.name == task.Child && a.takes(l.name) {
				continue // tasks that have begun may wait for them
			}
			for _, b := range l.todo {
				a.handBack(b)
			}
			l.todo = nil
		}
	}
}

// handBack publishes again what was not started of a batch, as it was, so that draining costs no budget. mu is held.
func (a *Agent) handBack(b *batch) { a.handBackIn(b, len(b.Specs)) }

// handBackIn is handBack in batches of so many tasks at most. Of what a start was noted, it is noted before that it is
// returned. When all is stored, the batch is done with here. mu is held.
func (a *Agent) handBackIn(b *batch, most int) {
	var rest []task.Spec
	for spec, _ := b.start(); spec != nil; spec, _ = b.start() {
		rest = append(rest, *spec)
	}
	for part := range slices.Chunk(rest, max(1, most)) {
		a.handBackPart(b, part)
	}
}

// handBackPart publishes some tasks of a batch. mu is held.
func (a *Agent) handBackPart(b *batch, specs []task.Spec) {
	rest := task.Batch{Owner: b.Owner, Scope: b.Scope, Class: b.Class, Level: b.Level, Calls: b.Calls, Specs: specs}
	a.active++
	m := queues.Message{Header: b.delivery.Header, Data: task.AppendBatch(nil, &rest)}
	publish := func(done func(error)) { b.level.queue.Send(m, done) }
	note := func(done func(error)) { a.noteReturned(&rest, done) }
	handedBack := func() { a.handedBack(b, int64(len(rest.Specs))) }
	if b.noted {
		a.untilDone(b, note, func() { a.untilDone(b, publish, handedBack) })
	} else {
		a.untilDone(b, publish, handedBack)
	}
}

// untilDone does a step of a hand-back, again when it was refused, and then what comes next.
func (a *Agent) untilDone(b *batch, step func(done func(error)), next func()) {
	step(func(err error) {
		if err != nil {
			a.handBackLater(b, func() { a.untilDone(b, step, next) })
			return
		}
		next()
	})
}

// handBackLater tries again what was refused. An agent that ends leaves it under its lease: it comes again, as lost.
func (a *Agent) handBackLater(b *batch, again func()) {
	a.mu.Lock()
	ends := a.draining || a.base.Err() != nil
	a.mu.Unlock()
	if ends {
		a.handedBack(b, 0)
		return
	}
	a.cfg.Logger.Warn("nodeagent: what is handed back was refused; trying again", "class", b.Class, "owner", b.Owner)
	time.AfterFunc(refusedWait, again)
}

// noteReturned appends a note for each task of the batch that its start is void. mu may be held.
func (a *Agent) noteReturned(b *task.Batch, done func(error)) {
	var w task.RecordWriter
	for i := range b.Specs {
		w.Add(noteOf(&b.Specs[i], task.Returned))
	}
	log := a.broker.LogHandle(a.broker.Log(b.Owner))
	log.Send(queues.Message{Data: w.Append(nil, a.cfg.NodeID, b.Owner)}, func(_ uint64, err error) { done(err) })
}

func noteOf(s *task.Spec, state task.State) *task.Entry {
	return &task.Entry{Number: s.Number, Digest: s.Digest, State: state, Dispatch: s.Dispatch}
}

// handedBack notes that so many tasks of a batch are somebody else's.
func (a *Agent) handedBack(b *batch, tasks int64) {
	if tasks > 0 && b.left.Add(-tasks) == 0 {
		a.recorded(b)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inactive()
	if len(a.alone) > 0 {
		a.dispatch()
	}
}

// tasksRunning returns how many functions have not returned.
func (a *Agent) tasksRunning() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.slotsRun {
		if s.current.Load() != nil {
			n++
		}
	}
	return n
}
