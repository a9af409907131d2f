package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/internal/wait"
)

// A task that a task submits is a child. Its owner is the session of the agent that runs its parent. If that agent may run
// it, the child waits in the agent's own queue and is stored nowhere: a parent whose agent is lost makes its children
// again. What became of such a child comes by a call (ChildEnded), and not by the log; all else is as for any other task.

// Child is a task that another one has submitted.
type Child struct {
	handle Handle
	local  bool         // guarded by Session.mu; this agent runs it: it is not published
	queue  *LocalQueue  // guarded by Session.mu; where it waits; nil while it does not
	at     int          // guarded by Session.mu; its place there
	runs   *TaskContext // guarded by Session.mu; the attempt that runs on this agent, nil if none does
	parent *TaskContext // guarded by Session.mu; the attempt that has submitted it; nil once it has its outcome

	first task.Spec   // what its first attempt is to run; fixed once that has begun
	Pins  values.Pins // of its input; belongs to the attempt
}

// children are the open children of a session, and where they wait. Session.mu guards them; the queues' lengths may be
// read under any lock.
type children struct {
	queues        sync.Map        // of *LocalQueue by class
	cpusElsewhere atomic.Bool     // other agents have announced idle CPUs; written under Session.mu
	candidates    map[*Child]bool // open children that may need what the tasks above them hold; see deadlock.go
}

// LocalQueue holds the children of one class that wait on this agent. The newest one is run first, since the children of
// what came last are the ones that somebody waits for: so a tree of tasks is walked depth first. The oldest are the
// largest, and go to a slot that has nothing else to do, on this agent or another one.
type LocalQueue struct {
	children []*Child     // guarded by Session.mu; nil where one was taken out. Invariant: neither end is nil
	removed  int          // guarded by Session.mu; how many places were cut off the front
	count    atomic.Int64 // children that are not nil
}

// Len returns how many children wait. It may be called under any lock.
func (q *LocalQueue) Len() int { return int(q.count.Load()) }

func (q *LocalQueue) push(c *Child) {
	c.queue, c.at = q, q.removed+len(q.children)
	q.children = append(q.children, c)
	q.count.Add(1)
}

func (q *LocalQueue) remove(c *Child) {
	q.children[c.at-q.removed] = nil
	c.queue = nil
	q.count.Add(-1)
	n := len(q.children)
	for n > 0 && q.children[n-1] == nil {
		n--
	}
	q.children = q.children[:n]
	for len(q.children) > 0 && q.children[0] == nil {
		q.children = q.children[1:]
		q.removed++
	}
}

func (q *LocalQueue) oldest() *Child {
	if len(q.children) == 0 {
		return nil
	}
	return q.children[0]
}

func (q *LocalQueue) newest() *Child {
	if len(q.children) == 0 {
		return nil
	}
	return q.children[len(q.children)-1]
}

// of returns the queue of a class.
func (c *children) of(class task.Class) *LocalQueue {
	if q, ok := c.queues.Load(class); ok {
		return q.(*LocalQueue)
	}
	q, _ := c.queues.LoadOrStore(class, &LocalQueue{})
	return q.(*LocalQueue)
}

// shareable reports whether children wait here while other agents have idle CPUs.
func (c *children) shareable() (waits bool) {
	if !c.cpusElsewhere.Load() {
		return false
	}
	c.queues.Range(func(_, q any) bool {
		waits = q.(*LocalQueue).Len() > 0
		return !waits
	})
	return waits
}

// clear forgets all children: the session is broken.
func (c *children) clear() {
	c.queues.Clear()
	clear(c.candidates)
}

// remove forgets a child that has its outcome. It returns the attempt that runs on this agent, nil if none does.
func (c *children) remove(child *Child) (runs *TaskContext) {
	child.parent = nil
	delete(c.candidates, child)
	if !child.local {
		return nil
	}
	if child.queue != nil {
		child.queue.remove(child)
	}
	return child.runs
}

// LocalQueue returns the children of a class that wait on this agent. It may be called under any lock.
func (s *Session) LocalQueue(class task.Class) *LocalQueue { return s.children.of(class) }

// childSet is the children of one task.
type childSet struct {
	open       []*Handle      // guarded by the Session.mu of the agent's session; submitted, and perhaps open
	few        [4]*Handle     // where open begins
	resultRefs []*Handle      // to what the result refers; only the goroutine of the attempt
	inlined    wait.Broadcast // guarded by TaskContext.slot
}

// childSet returns the task's children to be added to.
func (t *TaskContext) childSet() *childSet {
	if set := t.children.Load(); set != nil {
		return set
	}
	set := &childSet{}
	set.open = set.few[:0]
	if !t.children.CompareAndSwap(nil, set) {
		set = t.children.Load()
	}
	return set
}

// SetResultRefs notes to which tasks the result of the attempt refers. It is recorded when they have ended.
func (t *TaskContext) SetResultRefs(handles []*Handle) { t.childSet().resultRefs = handles }

// ResultRefs returns what SetResultRefs was given.
func (t *TaskContext) ResultRefs() []*Handle {
	if set := t.children.Load(); set != nil {
		return set.resultRefs
	}
	return nil
}

// MayReferTo reports whether a result of the task may refer to the handle: it is of this agent's session.
func (t *TaskContext) MayReferTo(h *Handle) bool {
	return h.s != nil && h.s.cfg.Host != nil && h.s.cfg.Host == t.Host
}

// parentIn returns the task of this agent that submits under ctx, nil if it is none.
func (s *Session) parentIn(ctx context.Context) *TaskContext {
	if s.cfg.Host == nil {
		return nil
	}
	return TaskIn(ctx)
}

// addChildLocked makes a new task a child of the one that submits it, unless that has ended.
func (s *Session) addChildLocked(h *Handle, parent *TaskContext) error {
	set := parent.childSet() // before it is asked whether the task has ended: FinishChildren looks the other way round
	if parent.slot.isOver() {
		return ErrTaskOver
	}
	h.child.parent = parent
	s.children.noteCandidate(h.child)
	h.child.local = h.route.local && h.route.lane.class == parent.Class
	if len(set.open) == cap(set.open) { // those that have ended need not be remembered
		set.open = slices.DeleteFunc(set.open, (*Handle).Ended)
	}
	set.open = append(set.open, h)
	return nil
}

// TakeChild has an attempt run a child of the class, the oldest or the newest one; it returns nil if none waits. What is to
// be run is written to t and to the child.
func (s *Session) TakeChild(q *LocalQueue, oldest bool, t *TaskContext) *Child {
	if q.Len() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := q.newest()
	if oldest {
		c = q.oldest()
	}
	if c != nil {
		s.startChildLocked(c, t)
	}
	return c
}

// TakeThisChild is as TakeChild, of one child: nil if it does not wait on this agent.
func (s *Session) TakeThisChild(h *Handle, t *TaskContext) *Child {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.child == nil || h.child.queue == nil {
		return nil
	}
	s.startChildLocked(h.child, t)
	return h.child
}

// startChildLocked takes a child out of its queue for an attempt.
func (s *Session) startChildLocked(c *Child, t *TaskContext) {
	c.queue.remove(c)
	c.runs, t.of = t, c
	h := &c.handle
	h.given = true
	spec := &c.first
	if spec.Number != 0 { // goroutines of an attempt may outlive it
		spec = new(task.Spec)
	}
	*spec = task.Spec{Number: h.number, Dispatch: h.dispatch, Input: h.inputLocked()}
	t.Spec, t.Call, t.Owner = spec, &h.route.call, &s.reader.identity().owner
}

// LinkChild notes that an attempt at a task that came in a batch is one at a child of this session, if it is.
func (s *Session) LinkChild(t *TaskContext, number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.tracker.task(number); h != nil {
		t.of = h.child
	}
}

// ChildEnded takes what became of an attempt at a child. The entry may be used again afterwards.
func (s *Session) ChildEnded(c *Child, e *task.Entry) {
	u := s.lock()
	defer u.unlock()
	h := &c.handle
	c.runs = nil
	if s.tracker.task(h.number) != h { // it was cancelled meanwhile
		s.disown(e)
		return
	}
	u.applyEntry(h, &recorded{Entry: e, writer: s.cfg.Node})
}

// CancelChildren cancels the children of an attempt that is to end.
func (s *Session) CancelChildren(t *TaskContext) {
	if t.children.Load() == nil {
		return
	}
	u := s.lock()
	defer u.unlock()
	u.cancelChildren(t, nil, "is to end")
	u.followUp()
}

// FinishChildren ends what an attempt that has ended has submitted: its children are cancelled, but for those to which its
// result refers.
func (s *Session) FinishChildren(t *TaskContext, result []*Handle) {
	set := t.children.Load()
	if set == nil {
		return
	}
	u := s.lock()
	defer u.unlock()
	u.cancelChildren(t, result, "has ended")
	u.followUp()
	set.open = nil
	for _, h := range result {
		if h != nil {
			set.open = append(set.open, h)
		}
	}
}

// JoinInline waits for a child that another goroutine of the task still runs in its slot when its function has returned.
// The child is cancelled, unless the result refers to it.
func (t *TaskContext) JoinInline(s *Session, result []*Handle) {
	if t.children.Load() == nil {
		return
	}
	for done := t.slot.inlineDone(t); done != nil; done = t.slot.inlineDone(t) {
		s.FinishChildren(t, result)
		<-done
	}
}

// shareChildren publishes the oldest children, one for each CPU that other agents have announced as idle.
func (s *Session) shareChildren(now time.Time) {
	if !s.children.cpusElsewhere.Load() {
		return
	}
	u := s.lock()
	defer u.unlock()
	if s.broken != nil || !s.keeper.leased(now) {
		return
	}
	s.children.queues.Range(func(_, v any) bool {
		q := v.(*LocalQueue)
		for n := s.nodes.TakeIdle(s.cfg.Node, q.Len()); n > 0; n-- {
			u.publishChild(q.oldest())
		}
		return true
	})
	s.children.cpusElsewhere.Store(s.nodes.Idle(s.cfg.Node) > 0)
}

// publishChild gives a child to whichever agent has a slot for it: from now on it is a task as any other.
func (u *update) publishChild(c *Child) {
	c.queue.remove(c)
	c.local = false
	t := &u.s.tracker
	if t.local--; t.published() == 1 {
		u.s.reader.heardNow()
	}
	u.enqueue(&c.handle)
}

// nodesChanged takes notice of other agents' idle CPUs.
func (s *Session) nodesChanged() {
	if s.nodes.Idle(s.cfg.Node) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.children.cpusElsewhere.Store(true) // under the lock: shareChildren, which resets it, may not have seen this change
	s.publisher.wakeUp()
}

// AllEnded reports whether all of the tasks have ended.
func AllEnded(handles []*Handle) bool {
	for _, h := range handles {
		if h != nil && !h.ended.Load() {
			return false
		}
	}
	return true
}

// ResolveRefs returns a result with the outcomes of the tasks to which it refers, which have ended: their values, and the
// failures of those that have none.
func (s *Session) ResolveRefs(ctx context.Context, v task.Value, refs []*Handle) (task.Value, error) {
	v.External = v.External.Copy()
	for i, h := range refs {
		if h == nil {
			continue // it is there already
		}
		var known task.Value
		err := h.known(ctx, &known)
		f, failed := errors.AsType[*task.Failure](err)
		switch {
		case failed:
			known = task.Value{Type: task.Fault, Data: task.AppendFailure(nil, f)}
		case err != nil:
			return v, fmt.Errorf("the value of reference %d in the result: %w", i, err)
		}
		v.External.Refs[i] = known
	}
	return v, nil
}
