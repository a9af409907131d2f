package nodeagent

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// scheduler shares the slots of an agent among the classes and levels that it serves.
//
// mu guards it; before it are taken, where more than one is: Session.mu, Completions.mu and the slot share of a task; after
// it recorder.mu. Slots that run look at the atomic fields alone.
type scheduler struct {
	slots       *slots       // what is free; has a lock of its own
	yieldBefore atomic.Int64 // a slot ends rather than to go on with a batch that came at this time or later; see blocked
	waiting     atomic.Int64 // tasks that have yielded their slots
	hasCapacity atomic.Bool  // another task could begin

	mu       sync.Mutex
	classes  map[task.Class]*class // guarded by mu
	order    []*class              // guarded by mu; by age of the oldest batch with unstarted tasks
	unserved []queues.Row          // guarded by mu; rows of classes that could not be opened yet
	running  map[*slot]bool        // guarded by mu; slots but for the abandoned
	pending  map[*execution]bool   // guarded by mu; attempts that ran, whose results refer to tasks without an outcome
	alone    []*batch              // guarded by mu; batches that wait until nothing else runs
	solo     bool                  // guarded by mu; one of them runs
	draining bool                  // guarded by mu; nothing more is pulled, and nothing more started
	lost     int                   // guarded by mu; slots whose tasks ignore that they are to end
	active   int                   // guarded by mu; what a drain waits for
	quiet    wait.Broadcast        // guarded by mu; when active is 0
}

// init makes the zero value a scheduler of these resources, of which nothing is taken.
func (s *scheduler) init(resources task.Resources) {
	s.slots = newSlots(resources)
	s.classes, s.running, s.pending = map[task.Class]*class{}, map[*slot]bool{}, map[*execution]bool{}
	s.blocked(math.MaxInt64)
}

// blocked says when the oldest batch came that waits for what other classes hold, MaxInt64 if none does: slots with younger
// batches end, so that it gets what it waits for.
func (s *scheduler) blocked(since time.Duration) { s.yieldBefore.Store(int64(since)) }

// endSlots has all slots end after the task that they run.
func (s *scheduler) endSlots() { s.blocked(0) }

// mayGoOn reports whether a slot may go on with a batch that came then.
func (s *scheduler) mayGoOn(arrived time.Duration) bool { return s.yieldBefore.Load() > int64(arrived) }

func (s *scheduler) all() []*class {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

func (s *scheduler) takeUnserved() (rows []queues.Row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, s.unserved = s.unserved, nil
	return rows
}

func (s *scheduler) lostSlots() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// hasAlone reports whether a batch runs, or is to run, with nothing beside it. mu is held.
func (s *scheduler) hasAlone() bool { return len(s.alone) > 0 || s.solo }

// maxWaiting is how many tasks may wait for others. With more, the agent starts nothing but children.
const maxWaiting = 256

// childrenOnly reports whether nothing but children is to be started, which other tasks wait for. mu is held.
func (s *scheduler) childrenOnly() bool {
	return s.draining || s.hasAlone() || s.waiting.Load() > maxWaiting
}

// takes reports whether tasks of the level are pulled and started. mu is held.
func (s *scheduler) takes(level task.Level) bool {
	return !s.childrenOnly() || level == task.Child && (s.waiting.Load() > 0 || len(s.pending) > 0)
}

// stopPulling ends the pull requests of such levels. mu is held.
func (s *scheduler) stopPulling(of func(*level) bool) {
	for _, c := range s.order {
		for _, l := range c.levels {
			if l != nil && of(l) {
				l.puller.Stop()
			}
		}
	}
}

func anyLevel(*level) bool { return true }

// lookForCapacity sees whether another task could begin. mu is held.
func (s *scheduler) lookForCapacity() {
	s.hasCapacity.Store(slices.ContainsFunc(s.order, func(c *class) bool { return s.slots.Room(c.shape) }))
}

// retire takes a slot from those that run. mu is held.
func (s *scheduler) retire(x *slot) {
	x.class.running--
	delete(s.running, x)
	if x.solo {
		s.solo = false
	}
	s.inactive()
}

// inactive notes that something which a drain waits for has ended. mu is held.
func (s *scheduler) inactive() {
	if s.active--; s.active == 0 {
		s.quiet.Wake()
	}
}

// change is a change of the scheduler: it lives as long as scheduler.mu is held.
type change struct {
	a      *Agent
	asking []*queues.Puller // have got credit for which the server is to be asked
}

// lock takes scheduler.mu for a change.
func (a *Agent) lock() change {
	a.sched.mu.Lock()
	return change{a: a}
}

// unlock ends the change: it gives scheduler.mu up, and then asks for what credit was given for. The connection may be
// busy for a while, and slots are not to wait for it.
func (u *change) unlock() {
	u.a.sched.mu.Unlock()
	for _, p := range u.asking {
		if err := p.Request(); err != nil {
			u.a.cfg.Logger.Warn("nodeagent: send a pull request", "node", u.a.cfg.NodeID, "err", err)
		}
	}
}

// dispatch starts slots for what is held, after something has changed that may let them begin.
func (a *Agent) dispatch() {
	u := a.lock()
	defer u.unlock()
	u.dispatch()
}

// dispatch starts slots for what is held, the class with the oldest batch first. What that class lacks is
// reserved for it: a younger class does not take it away, or large shapes would never run beside small ones.
func (u *change) dispatch() {
	a, s := u.a, &u.a.sched
	defer a.noteIdle()
	defer s.lookForCapacity()
	if a.recorder.stalled() || a.cancels.stale() {
		return
	}
	s.lookForCapacity() // before what waits is counted: a child that is queued behind the count finds that there is capacity
	only := u.dispatchAlone() || s.childrenOnly()
	slices.SortStableFunc(s.order, func(x, y *class) int { return cmp.Compare(x.since(), y.since()) })
	reserved := map[string]bool{}
	blocked := time.Duration(math.MaxInt64)
	for _, c := range s.order {
		for n := c.startable(only); n > 0; n-- {
			if !s.slots.Take(c.shape, reserved) {
				if c.running == 0 {
					blocked = min(blocked, c.since())
				}
				break
			}
			x := &slot{agent: a, class: c}
			u.begin(x, x.run)
		}
	}
	if !only {
		s.blocked(blocked)
	}
}

// dispatchAlone sees to the batches that nothing may run beside: it lets all slots end, and then starts
// one for the oldest. It reports whether that goes on.
func (u *change) dispatchAlone() bool {
	s := &u.a.sched
	if s.solo {
		return true
	}
	if len(s.alone) == 0 {
		return false
	}
	s.endSlots()
	u.handBackAll() // or it would be lost with what may kill this agent
	if s.active > 0 || !u.a.recorder.settled() {
		return true // the end of the last slot, of the last hand-back or of the last record comes back here
	}
	b := s.alone[0]
	s.alone = s.alone[1:]
	if !s.slots.Take(b.class.shape, map[string]bool{}) { // slots that are lost have what it needs
		b.class.barred = time.Now().Add(barredFor)
		u.handBack(b)
		return false
	}
	s.solo = true
	x := &slot{agent: u.a, class: b.class, batch: b, solo: true}
	u.begin(x, x.runAlone)
	return true
}

// barredFor is how long an agent leaves a class to others whose resources it lacks because of lost slots.
const barredFor = 30 * time.Second

// begin starts a slot whose resources are taken.
func (u *change) begin(x *slot, run func()) {
	s := &u.a.sched
	x.class.running++
	s.active++
	s.running[x] = true
	u.a.workers.run(run)
}
