package nodeagent

import (
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/task"
)

// slot runs tasks of one class, one after the other, for as long as there are any. It holds the
// resources of one task. It belongs to the goroutine that runs it, but for the atomic fields.
type slot struct {
	agent     *Agent
	class     *class
	batch     *batch        // the one that tasks come from, nil before the first
	solo      bool          // runs one batch, with nothing beside it
	now       *execution    // nil between tasks
	taskBegan atomic.Int64  // when the task that runs did; nanoseconds since the agent has begun
	ran       time.Duration // since the class's mean was told
	runs      int
	left      bool       // the task that runs is left, unrecorded, to another agent
	out       []byte     // where results are encoded, used again
	entry     task.Entry // of the task that has run, used again

	called *task.Call         // the call that was looked up last
	fn     *registry.Function // its function

	current atomic.Pointer[execution] // of the task that runs; whoever takes it away speaks for the task
}

// run is a task's way through the agent, again and again.
func (s *slot) run() {
	defer s.end()
	s.beginNow()
	for s.claim() {
		if b := s.now.batch; b != nil && b.own { // not in claim, which may hold scheduler.mu
			s.agent.nested.get().LinkChild(&s.now.TaskContext, s.now.Spec.Number)
		}
		switch s.now.attempt(&s.entry) {
		case ended:
			s.now.deliver(&s.entry)
		case awaitsRefs:
			s.now.deliverLater(s.entry)
		case abandoned:
			return // given up, or left for the next agent
		}
		s.now = nil
	}
}

// runAlone runs a batch that may kill this agent: where the streams outlive it, a note says before that it has
// begun, so that its death counts.
func (s *slot) runAlone() {
	if s.agent.cfg.Durable {
		if err := s.agent.recordStarted(s.batch); err != nil {
			s.agent.cfg.Logger.Warn("nodeagent: record the start of tasks that may kill an agent", "class", s.class.name, "owner", s.batch.Owner, "err", err)
		}
	}
	s.run()
}

// claim takes the next task: a child of one that this agent runs before anything else. It returns false when there
// is none, or when an older batch of another class waits for what this slot holds.
func (s *slot) claim() bool {
	a := s.agent
	if s.solo {
		spec, _ := s.batch.start()
		return s.take(spec)
	}
	if a.sched.slots.Over() {
		return false // a task has taken back what it had yielded
	}
	if s.claimChild() {
		return true
	}
	if s.batch != nil && a.sched.mayGoOn(s.batch.arrived) && !a.recorder.stalled() && !s.class.contended.Load() {
		spec, low := s.batch.start()
		if low {
			a.pullMore(s.class)
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
func (s *slot) beginNow() { s.taskBegan.Store(int64(time.Since(s.agent.began))) }

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

// pullMore pulls more while a batch is run.
func (a *Agent) pullMore(c *class) {
	u := a.lock()
	defer u.unlock()
	u.pull(c)
}

// fewWaiting is up to how many tasks may wait while slots take the oldest children, which are the largest. With more,
// they take the newest, so that those are done first for which somebody waits.
const fewWaiting = 16

// claimChild takes a child of the slot's class.
func (s *slot) claimChild() bool {
	nested := s.agent.nested.get()
	if nested == nil || s.class.children().Len() == 0 || s.agent.recorder.stalled() {
		return false
	}
	x := s.newAttempt()
	x.child = nested.TakeChild(s.class.children(), s.agent.sched.waiting.Load() < fewWaiting, &x.TaskContext)
	if x.child == nil {
		return false
	}
	s.now = x
	return true
}

// claimNext goes on to the next batch held, and pulls more.
func (s *slot) claimNext() bool {
	a, c := s.agent, s.class
	u := a.lock()
	defer u.unlock()
	s.learn()
	only := a.sched.childrenOnly()
	if s.batch != nil && !a.sched.mayGoOn(c.since()) && !only || a.recorder.stalled() || a.cancels.stale() {
		return false
	}
	for l := c.pick(only); l != nil; l = c.pick(only) {
		s.batch = l.todo[0]
		l.watch()
		if spec, _ := s.batch.start(); s.take(spec) {
			u.pull(c)
			l.pass += strides[l.name.Rank()]
			c.contend()
			return true
		}
	}
	c.contend()
	u.pull(c)
	return false
}

// learn tells the class how long its tasks run. scheduler.mu is held.
func (s *slot) learn() {
	if s.runs > 0 {
		s.class.runTime.Add(max(1, s.ran/time.Duration(s.runs)))
		s.ran, s.runs = 0, 0
	}
}

// end gives the slot back. A task that runs still has ended its goroutine, and so this slot: that is its
// failure. An abandoned one gives back what was shown as lost.
func (s *slot) end() {
	a := s.agent
	wasAbandoned := false
	if s.now != nil && !s.left {
		x := s.current.Load()
		wasAbandoned = x == nil || !s.current.CompareAndSwap(x, nil)
	}
	if s.now != nil && !wasAbandoned && !s.left {
		s.now.exited()
	}
	u := a.lock()
	defer u.unlock()
	s.learn()
	if wasAbandoned {
		a.sched.lost--
		a.cfg.Logger.Info("nodeagent: an abandoned task has ended after all; its slot can be used again",
			"func", s.now.Call.Func, "task", s.now.ID(), "class", s.class.name)
	} else {
		a.sched.retire(s)
	}
	a.sched.slots.Give(s.class.shape)
	if s.solo {
		u.pullAll()
	} else {
		u.pull(s.class)
	}
	u.dispatch()
}
