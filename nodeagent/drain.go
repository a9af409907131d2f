package nodeagent

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// Drain takes nothing more and starts nothing more, hands back what was not started, waits for what runs,
// and records it. If ctx ends first, the contexts of what runs are cancelled and an error says how
// many tasks of which functions that are.
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
	if running := a.tasksRunning(); len(running) > 0 {
		a.ending.Store(true)
		a.cancel()
		return fmt.Errorf("nodeagent: drain %s: tasks are still running: %s: %w", a.cfg.NodeID, inWords(running), ctx.Err())
	}
	last := time.NewTimer(maintainEvery) // nothing runs: recording is all that is left
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

// confirm returns when the server has processed the last acks: of a batch whose ack is lost with the server,
// what was handed back of it would run twice.
func (a *Agent) confirm() {
	ctx, cancel := context.WithTimeout(a.base, confirmWithin)
	defer cancel()
	for _, d := range a.sched.lastAcked() {
		if err := d.Confirm(ctx); err != nil {
			a.cfg.Logger.Warn("nodeagent: drain: the last acks are not confirmed", "node", a.cfg.NodeID, "err", err)
			return
		}
	}
}

// lastAcked returns the batch of each level that was acked last.
func (s *scheduler) lastAcked() (last []*queues.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.order {
		for _, l := range c.levels {
			if l != nil && l.last != nil {
				last = append(last, l.last)
			}
		}
	}
	return last
}

// beginDrain stops pulling, and returns a channel that is closed when nothing runs and everything else is
// handed back. To abandon an agent and its drain, the channel is closed too.
func (a *Agent) beginDrain() <-chan struct{} {
	u := a.lock()
	defer u.unlock()
	s := &a.sched
	s.draining = true
	s.endSlots()
	s.stopPulling(func(l *level) bool { return l.name != task.Child }) // tasks that run may wait for children
	u.handBackAll()
	for _, b := range s.alone {
		u.handBack(b)
	}
	s.alone = nil
	quiet := s.quiet.C()
	if s.active == 0 {
		s.quiet.Wake()
	}
	return quiet
}

// handBackAll hands back what was not started, but for batches that are to run alone.
func (u *change) handBackAll() {
	for _, c := range u.a.sched.order {
		for _, l := range c.levels {
			if l == nil || l.name == task.Child && u.a.sched.takes(l.name) { // tasks that have begun may wait for children
				continue
			}
			for _, b := range l.todo {
				u.handBack(b)
			}
			l.todo = nil
		}
	}
}

// handBack publishes again what was not started of a batch, as it was, so that draining costs no budget.
func (u *change) handBack(b *batch) { u.handBackIn(b, len(b.Specs)) }

// handBackIn is handBack in batches of so many tasks at most. Where a start of them is recorded, it is recorded first that
// they are returned. When all is stored, this agent is done with the batch.
func (u *change) handBackIn(b *batch, most int) {
	var rest []task.Spec
	for _, spec := range b.rest() {
		rest = append(rest, *spec)
	}
	for part := range slices.Chunk(rest, max(1, most)) {
		u.handBackPart(b, part)
	}
}

// handBackPart publishes some tasks of a batch.
func (u *change) handBackPart(b *batch, specs []task.Spec) {
	a := u.a
	rest := task.Batch{Owner: b.Owner, Scope: b.Scope, Class: b.Class, Level: b.Level, Calls: b.Calls, Specs: specs}
	a.sched.active++
	m := queues.Message{Header: b.delivery.Header, Data: task.AppendBatch(nil, &rest)}
	publish := func(done func(error)) { b.level.queue.Send(m, done) }
	record := func(done func(error)) { a.recordReturned(&rest, done) }
	handedBack := func() { a.handedBack(b, int64(len(rest.Specs))) }
	if b.noted {
		a.untilDone(b, record, func() { a.untilDone(b, publish, handedBack) })
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

// handBackLater tries again what was refused. An agent that ends leaves the batch under its lease: it is redelivered, and
// counts as lost.
func (a *Agent) handBackLater(b *batch, again func()) {
	a.sched.mu.Lock()
	ends := a.sched.draining || a.base.Err() != nil
	a.sched.mu.Unlock()
	if ends {
		a.handedBack(b, 0)
		return
	}
	a.cfg.Logger.Warn("nodeagent: the server refused tasks that are handed back; trying again", "class", b.Class, "owner", b.Owner)
	time.AfterFunc(refusedWait, again)
}

// recordReturned appends a note for each task of the batch that its start is void. scheduler.mu may be held.
func (a *Agent) recordReturned(b *task.Batch, done func(error)) {
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

// handedBack notes that so many tasks of a batch wait in the queue again.
func (a *Agent) handedBack(b *batch, tasks int64) {
	if tasks > 0 && b.left.Add(-tasks) == 0 {
		a.recorded(b)
	}
	u := a.lock()
	defer u.unlock()
	a.sched.inactive()
	if len(a.sched.alone) > 0 {
		u.dispatch()
	}
}

// tasksRunning returns which functions have not returned, each with how many of its tasks run.
func (a *Agent) tasksRunning() map[string]int {
	running := map[string]int{}
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	for s := range a.sched.running {
		if x := s.current.Load(); x != nil {
			running[x.Call.Func]++
		}
	}
	return running
}

// inWords returns the functions and their numbers of tasks, those with most tasks first and at most five.
func inWords(running map[string]int) string {
	const most = 5
	names := slices.SortedFunc(maps.Keys(running), func(a, b string) int {
		return cmp.Or(cmp.Compare(running[b], running[a]), strings.Compare(a, b))
	})
	var words []string
	for _, name := range names[:min(len(names), most)] {
		words = append(words, fmt.Sprintf("%d of %s", running[name], name))
	}
	if more := len(names) - most; more > 0 {
		words = append(words, fmt.Sprintf("and of %d other functions", more))
	}
	return strings.Join(words, ", ")
}
