package nodeagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/task"
)

// dispatch starts slots for what is held, the class with the oldest batch first. What that class lacks is
// kept for it: a younger class does not take it away, or large shapes would never run beside small ones.
// mu is held.
func (a *Agent) dispatch() {
	defer a.lookForIdle()
	if a.recorder.stalled() || a.deaf() {
		return
	}
	only := a.dispatchAlone() || a.childrenOnly()
	slices.SortStableFunc(a.order, func(x, y *class) int { return cmp.Compare(x.since(), y.since()) })
	scarce := map[string]bool{}
	blocked := time.Duration(math.MaxInt64)
	for _, c := range a.order {
		for n := c.startable(only); n > 0; n-- {
			if !a.slots.Take(c.shape, scarce) {
				if c.running == 0 {
					blocked = min(blocked, c.since())
				}
				break
			}
			s := &slot{agent: a, class: c}
			a.begin(s, s.run)
		}
	}
	if !only {
		a.blocked.Store(int64(blocked))
	}
}

// dispatchAlone sees to the batches that nothing may run beside: it lets all slots end, and then starts
// one for the oldest. It reports whether that goes on. mu is held.
func (a *Agent) dispatchAlone() bool {
	if a.solo {
		return true
	}
	if len(a.alone) == 0 {
		return false
	}
	a.blocked.Store(0)
	a.handBackAll() // or it would be lost with what may kill this agent
	if a.active > 0 || !a.recorder.settle() {
		return true // the end of the last slot, of the last hand-back or of the last record comes back here
	}
	b := a.alone[0]
	a.alone = a.alone[1:]
	if !a.slots.Take(b.class.shape, map[string]bool{}) { // slots that are lost have what it needs
		b.class.barred = time.Now().Add(barredFor)
		a.handBack(b)
		return false
	}
	a.solo = true
	s := &slot{agent: a, class: b.class, batch: b, solo: true}
	a.begin(s, s.runAlone)
	return true
}

// barredFor is how long an agent leaves a class to others for which it has not what its tasks need.
const barredFor = 30 * time.Second

// hasAlone reports whether a batch runs, or is to run, with nothing beside it. mu is held.
func (a *Agent) hasAlone() bool { return len(a.alone) > 0 || a.solo }

// runAlone runs a batch that may kill this agent: where the streams outlive it, a note says before that it has
// begun, so that its death counts.
func (s *slot) runAlone() {
	if s.agent.cfg.Durable {
		if err := s.agent.noteStarted(s.batch); err != nil {
			s.agent.cfg.Logger.Warn("nodeagent: note the start of what may kill an agent", "owner", s.batch.Owner, "err", err)
		}
	}
	s.run()
}

// begin starts a slot, on a goroutine that waits for one, or a new one. mu is held, and its resources are taken.
func (a *Agent) begin(s *slot, run func()) {
	s.class.running++
	a.active++
	a.slotsRun[s] = true
	select {
	case a.hands <- run:
	default:
		go a.work(run)
	}
}

// mostHands bounds how many goroutines wait for a slot to run.
const mostHands = 64

// work runs a slot, and then others as they begin: the stack of a new goroutine would have to grow for each lone task,
// which takes longer than the task.
func (a *Agent) work(run func()) {
	for run != nil {
		run()
		run = a.nextSlot()
	}
}

// nextSlot waits for a slot that begins. It returns nil if enough others wait for one, or the agent ends.
func (a *Agent) nextSlot() (run func()) {
	defer a.idleHands.Add(-1)
	if a.idleHands.Add(1) > mostHands {
		return nil
	}
	select {
	case run = <-a.hands:
	case <-a.done:
	}
	return run
}

// since returns when the oldest batch with unstarted tasks came; a class without one comes last.
func (c *class) since() time.Duration {
	since := time.Duration(math.MaxInt64)
	for _, l := range c.levels {
		if l != nil && len(l.todo) > 0 {
			since = min(since, l.todo[0].came)
		}
	}
	return since
}

// slot runs tasks of one class, one after the other, for as long as there are any. It holds the
// resources of one task.
type slot struct {
	agent *Agent
	class *class
	batch *batch        // the one that tasks come from, nil before the first
	solo  bool          // runs one batch, with nothing beside it
	now   *execution    // nil between tasks
	begun atomic.Int64  // when the task that runs did; nanoseconds since the agent has begun
	ran   time.Duration // since the class's mean was told
	runs  int
	left  bool       // the task that runs is left, unrecorded, to another agent
	out   []byte     // where results are encoded, used again
	entry task.Entry // of the task that has run, used again

	called *task.Call         // the call that was looked up last
	fn     *registry.Function // its function

	current atomic.Pointer[execution] // of the task that runs; whoever takes it away speaks for the task
}

// run is a task's way through the agent, again and again.
func (s *slot) run() {
	defer s.end()
	s.beginNow()
	for s.claim() {
		if b := s.now.batch; b != nil && b.mine { // not in claim, which may hold the agent's lock
			s.agent.nested.Load().LinkChild(&s.now.TaskContext, s.now.Spec.Number)
		}
		switch s.now.attempt(&s.entry) {
		case over:
			s.now.deliver(&s.entry)
		case unsettled:
			s.now.settleLater(s.entry)
		case notOurs:
			return // abandoned, or left for the next agent
		}
		s.now = nil
	}
}

// claim takes the next task: a child of one that this agent runs before anything else. It returns false when there
// is none, or when an older batch of another class waits for what this slot holds.
func (s *slot) claim() bool {
	if s.solo {
		spec, _ := s.batch.start()
		return s.take(spec)
	}
	if s.agent.slots.Over() {
		return false // a task has taken back what it had lent
	}
	if s.claimChild() {
		return true
	}
	if s.batch != nil && s.agent.blocked.Load() > int64(s.batch.came) && !s.agent.recorder.stalled() && !s.class.contended.Load() {
		spec, low := s.batch.start()
		if low {
			s.agent.askMore(s.class)
			s.beginNow()
		}
		if s.take(spec) {
			return true
		}
	}
	defer s.beginNow()
	return s.claimNext()
}

// beginNow has the next task begin now, and not when the last one ended: the connection may have been busy.
func (s *slot) beginNow() { s.begun.Store(int64(time.Since(s.agent.begun))) }

// take has the slot run a task of its batch, if there is one.
func (s *slot) take(spec *task.Spec) bool {
	if spec == nil {
		return false
	}
	x := s.newAttempt()
	x.batch, x.Spec, x.Call, x.Owner = s.batch, spec, &s.batch.Calls[spec.Call], &s.batch.Owner
	s.now = x
	return true
}

// start takes a spec of the batch to run, nil if all were taken. Slots share a batch by this counter
// alone, so that each gets as much as it can do. To one of them it says that the batch is low, and more is to be asked for.
func (b *batch) start() (spec *task.Spec, low bool) {
	if i := b.next.Add(1) - 1; i < int64(len(b.Specs)) {
		return &b.Specs[i], i == b.low.Load()
	}
	return nil, false
}

// askMore asks for more while a batch is run.
func (a *Agent) askMore(c *class) {
	a.mu.Lock()
	defer a.unlock()
	a.ask(c)
}

// claimNext goes on to the next batch held, and asks for more.
func (s *slot) claimNext() bool {
	a, c := s.agent, s.class
	a.mu.Lock()
	defer a.unlock()
	s.learn()
	only := a.childrenOnly()
	if s.batch != nil && a.blocked.Load() <= int64(c.since()) && !only || a.recorder.stalled() || a.deaf() {
		return false
	}
	for l := c.pick(only); l != nil; l = c.pick(only) {
		s.batch = l.todo[0]
		l.watch()
		if spec, _ := s.batch.start(); s.take(spec) {
			a.ask(c)
			l.pass += strides[l.name.Rank()]
			c.contend()
			return true
		}
	}
	c.contend()
	a.ask(c)
	return false
}

// learn tells the class how long its tasks run. Agent.mu is held.
func (s *slot) learn() {
	if s.runs == 0 {
		return
	}
	mean := max(1, s.ran/time.Duration(s.runs))
	if s.class.mean == 0 {
		s.class.mean = mean
	}
	mean = min(mean, max(meanClip*s.class.mean, time.Millisecond)) // one that takes long, once, is no rule
	s.class.mean += (mean - s.class.mean) / 4
	s.ran, s.runs = 0, 0
}

// meanClip bounds how much one look may change the mean: as engine/session/costs.go.
const meanClip = 16

// fault says why a task has no result.
type fault struct {
	failure *task.Failure
	retry   bool // another attempt could mend it
	refused bool // this agent cannot run it, and another one might: no failure

	cancelled bool // somebody asked for it
	late      bool // its deadline has passed
}

// invoke calls the function and writes its result to out. All code of its author runs below the recover: the function,
// its types' encodings, and the methods of the error that it returns.
func invoke(ctx context.Context, fn *registry.Function, in *task.Value, dst []byte, out *task.Value) (why *fault) {
	defer func() {
		if p := recover(); p != nil {
			why = &fault{retry: true, failure: &task.Failure{Kind: task.KindPanic, Message: printed(p), Stack: string(debug.Stack())}}
		}
	}()
	value, err := fn.Invoke(ctx, in, dst)
	if err != nil {
		return faultOf(err)
	}
	out.Set(&value)
	return nil
}

// printed returns what was panicked with, in words.
func printed(p any) (text string) {
	defer func() {
		if recover() != nil { // fmt catches most, but a method may end in any way
			text = fmt.Sprintf("a %T that cannot be printed", p)
		}
	}()
	return fmt.Sprint(p)
}

// faultOf describes an error that the function, or its encoding, returned. If that is another task's failure, it is the
// cause of this one.
func faultOf(err error) *fault {
	if e, encoding := err.(*registry.EncodingError); encoding { //nolint:errorlint // not one of another task, in the chain
		return &fault{failure: e.Failure}
	}
	failure := &task.Failure{Kind: task.KindError, Message: err.Error()}
	if f, failed := errors.AsType[*task.Failure](err); failed && f != nil {
		failure.Causes = task.Because(f).Causes
	}
	_, never := errors.AsType[*registry.NonRetryable](err)
	return &fault{failure: failure, retry: !never}
}

// end gives the slot back. A task that runs still has ended its goroutine, and so this slot: that is its
// failure. An abandoned one gives back what was shown as lost.
func (s *slot) end() {
	a := s.agent
	abandoned := false
	if s.now != nil && !s.left {
		x := s.current.Load()
		abandoned = x == nil || !s.current.CompareAndSwap(x, nil)
	}
	if s.now != nil && !abandoned && !s.left {
		s.now.exited()
	}
	a.mu.Lock()
	defer a.unlock()
	s.learn()
	if abandoned {
		a.lost--
		a.cfg.Logger.Info("nodeagent: an abandoned task has ended after all; its slot is back", "class", s.class.name)
	} else {
		a.retire(s)
	}
	a.slots.Give(s.class.shape)
	a.askAllOr(s)
	a.dispatch()
}

// retire takes the slot from those that run. mu is held.
func (a *Agent) retire(s *slot) {
	s.class.running--
	delete(a.slotsRun, s)
	if s.solo {
		a.solo = false
	}
	a.inactive()
}

// inactive notes that something which a drain waits for has ended. mu is held.
func (a *Agent) inactive() {
	a.active--
	if a.active == 0 && a.quiet != nil {
		close(a.quiet)
		a.quiet = nil
	}
}

// askAllOr asks for more of the slot's class; of all, where one ran alone. mu is held.
func (a *Agent) askAllOr(s *slot) {
	if !s.solo {
		a.ask(s.class)
		return
	}
	for _, c := range a.order {
		a.ask(c)
	}
}

// resume goes on after the recorder had stalled, or has settled.
func (a *Agent) resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dispatch()
}
