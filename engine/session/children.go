package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// A task that a task submits is a child. Its owner is the session of the agent that runs its parent. If that agent
// may run it, the child waits in the agent's own list and is stored nowhere: a parent that is lost makes its children
// again. What became of it is told by a call then, and not by the log; all else is as for any other task.

// Child is a task that another one has submitted.
type Child struct {
	handle Handle
	here   bool         // it is not published: this agent runs it. Guarded by Session.mu
	list   *LocalQueue  // where it waits; nil while it does not. Guarded by Session.mu
	at     int          // its place there. Guarded by Session.mu
	runs   *TaskContext // the attempt that runs here, nil if none does. Guarded by Session.mu
	parent *TaskContext // the attempt that has submitted it; nil once it has its outcome. Guarded by Session.mu

	first task.Spec   // what its first attempt is to run. Fixed once that has begun
	Pins  values.Pins // of its input; of the attempt
}

// LocalQueue holds the children of one class that wait on this agent. The newest one goes first, since the children of
// what came last are the ones that somebody waits for: so a tree is walked in its depth. The oldest are the
// largest, and go to who has nothing else to do, here or elsewhere.
type LocalQueue struct {
	children []*Child     // guarded by Session.mu; nil where one was taken out. Invariant: neither end is nil
	gone     int          // guarded by Session.mu; how many were taken off the front
	count    atomic.Int64 // that are not nil
}

// Len returns how many children wait. It may be called under any lock.
func (w *LocalQueue) Len() int { return int(w.count.Load()) }

func (w *LocalQueue) push(c *Child) {
	c.list, c.at = w, w.gone+len(w.children)
	w.children = append(w.children, c)
	w.count.Add(1)
}

func (w *LocalQueue) remove(c *Child) {
	w.children[c.at-w.gone] = nil
	c.list = nil
	w.count.Add(-1)
	n := len(w.children)
	for n > 0 && w.children[n-1] == nil {
		n--
	}
	w.children = w.children[:n]
	for len(w.children) > 0 && w.children[0] == nil {
		w.children = w.children[1:]
		w.gone++
	}
}

func (w *LocalQueue) oldest() *Child {
	if len(w.children) == 0 {
		return nil
	}
	return w.children[0]
}

func (w *LocalQueue) newest() *Child {
	if len(w.children) == 0 {
		return nil
	}
	return w.children[len(w.children)-1]
}

// LocalQueue returns the children of a class that wait. It may be called under any lock.
func (s *Session) LocalQueue(class task.Class) *LocalQueue {
	if w, ok := s.waiting.Load(class); ok {
		return w.(*LocalQueue)
	}
	w, _ := s.waiting.LoadOrStore(class, &LocalQueue{})
	return w.(*LocalQueue)
}

// bear makes a new task a child of the one that submits it, unless that is over. mu is held.
func (s *Session) bear(h *Handle, parent *TaskContext) error {
	b := parent.mother() // before it is asked whether the task is over: Leave looks the other way round
	if parent.isOver() {
		return ErrTaskOver
	}
	h.child.parent = parent
	s.mayLack(h.child)
	h.child.here = h.route.here && h.route.lane.class == parent.Class
	if len(b.open) == cap(b.open) { // those that have ended need not be remembered
		b.open = slices.DeleteFunc(b.open, (*Handle).Ended)
	}
	b.open = append(b.open, h)
	return nil
}

// local returns the child if its outcome comes from this agent, nil if it was published, and for who is no child.
// s.mu is held.
func (h *Handle) local() *Child {
	if h.child != nil && h.child.here {
		return h.child
	}
	return nil
}

// enlist puts a child into the list of its class, and has slots and the run loop look. mu is held.
func (s *Session) enlist(c *Child) {
	s.LocalQueue(c.handle.route.lane.class).push(c)
	s.cfg.Host.Wake()
	if s.elsewhere.Load() {
		s.rouse()
	}
}

// Take has an attempt run a child of the class, the oldest or the newest one; it returns nil if none waits. What
// is to be run is written to x and to the child.
func (s *Session) Take(w *LocalQueue, oldest bool, x *TaskContext) *Child {
	if w.Len() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := w.newest()
	if oldest {
		c = w.oldest()
	}
	s.start(c, x)
	return c
}

// TakeThis is as Take, of one child: nil if it does not wait here.
func (s *Session) TakeThis(h *Handle, x *TaskContext) *Child {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.child == nil || h.child.list == nil {
		return nil
	}
	s.start(h.child, x)
	return h.child
}

// start takes a child out of its list for an attempt. mu is held.
func (s *Session) start(c *Child, x *TaskContext) {
	if c == nil {
		return
	}
	c.list.remove(c)
	c.runs, x.of = x, c
	h := &c.handle
	spec := &c.first
	if spec.Number != 0 { // goroutines of an attempt may outlive it
		spec = new(task.Spec)
	}
	*spec = task.Spec{Number: h.number, Dispatch: h.Dispatch, Input: h.inputOf()}
	x.Spec, x.Call, x.Owner = spec, &h.route.call, &s.me.owner
}

// ChildEnded takes what became of an attempt at a child. The entry may be used again.
func (s *Session) ChildEnded(c *Child, e *task.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &c.handle
	c.runs = nil
	if s.openTask(h.number) != h { // it was cancelled meanwhile
		s.disown(e)
		return
	}
	s.writer = s.cfg.Node
	s.recordedOf(h, e)
}

// endHere takes the end of a child that this session itself decides on: nobody else can decide anything else. mu
// is held.
func (s *Session) endHere(c graph.Command) {
	if h := s.openTask(c.Task); h != nil {
		e := lastEntry(h, c)
		s.writer = s.me.owner
		s.stepOnce(&graph.Event{What: graph.Recorded, Task: c.Task, State: e.State, Dispatch: e.Dispatch}, h, &e)
	}
}

// stop takes a child that has its outcome from where it waits or runs, with all below it. mu is held.
func (s *Session) stop(c *Child, why *task.Failure) {
	if c.list != nil {
		c.list.remove(c)
	}
	if c.runs != nil {
		c.runs.Self.Revoke(why)
		s.cancelLater(c.runs, nil)
	}
}

// cancelLater has the children of an attempt cancelled at the end of the step, but for those that are to stay. mu
// is held.
func (s *Session) cancelLater(r *TaskContext, but []*Handle) {
	b := r.brood.Load()
	if b == nil {
		return
	}
	for _, h := range b.open {
		if !h.ended.Load() && !slices.Contains(but, h) {
			s.followUps = append(s.followUps, graph.Command{Do: cancelChild, Task: h.number})
		}
	}
}

// cancelChild is a follow-up that the graph is asked about first.
const cancelChild graph.Do = 255

// followUp does what steps have left to be done after them. mu is held.
func (s *Session) followUp() {
	for i := 0; i < len(s.followUps); i++ {
		c := s.followUps[i]
		if c.Do != cancelChild {
			s.endHere(c)
		} else if h := s.openTask(c.Task); h != nil {
			s.stepOnce(&graph.Event{What: graph.Cancel, Task: c.Task}, h, nil)
		}
	}
	s.followUps = s.followUps[:0]
}

// RevokeChildren cancels the children of an attempt that is to end.
func (s *Session) RevokeChildren(r *TaskContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revokeChildren(r, nil)
}

// Leave ends what an attempt that is over has submitted: its children are cancelled, but for those to which its result
// refers.
func (s *Session) Leave(r *TaskContext, result []*Handle) {
	b := r.brood.Load()
	if b == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revokeChildren(r, result)
	b.open = nil
	for _, h := range result {
		if h != nil {
			b.open = append(b.open, h)
		}
	}
}

func (s *Session) revokeChildren(r *TaskContext, but []*Handle) {
	if s.broken == nil {
		s.cancelLater(r, but)
		s.followUp()
	}
}

// share publishes the oldest children, one for each CPU that other agents have told to be idle.
func (s *Session) share() {
	if !s.elsewhere.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil || !time.Now().Before(s.until) {
		return
	}
	s.waiting.Range(func(_, w any) bool {
		w1 := w.(*LocalQueue)
		for n := s.nodes.TakeIdle(s.cfg.Node, w1.Len()); n > 0; n-- {
			s.publishChild(w1.oldest())
		}
		return true
	})
	s.elsewhere.Store(s.nodes.Idle(s.cfg.Node) > 0)
}

// publishChild gives a child to whoever has a slot for it: from now on it is a task as any other. mu is held.
func (s *Session) publishChild(c *Child) {
	c.list.remove(c)
	c.here = false
	if s.local--; s.published() == 1 {
		s.heard = time.Now()
	}
	s.enqueue(&c.handle)
}

// published returns how many open tasks others may have something to tell of. mu is held.
func (s *Session) published() int { return s.open.Len() - s.local }

// nodesChanged takes notice of other agents' idle CPUs.
func (s *Session) nodesChanged() {
	if s.nodes.Idle(s.cfg.Node) == 0 {
		return
	}
	s.elsewhere.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rouse()
}

// AllEnded reports whether all of the tasks are over.
func AllEnded(handles []*Handle) bool {
	for _, h := range handles {
		if h != nil && !h.ended.Load() {
			return false
		}
	}
	return true
}

// Referring returns a result with the outcomes of the tasks to which it refers, which are over: their values, and the
// failures of those that have none.
func (s *Session) Referring(ctx context.Context, v task.Value, refers []*Handle) (task.Value, error) {
	v.External = v.External.Copy()
	for i, h := range refers {
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
			return v, fmt.Errorf("reference %d: %w", i, err)
		}
		v.External.Refs[i] = known
	}
	return v, nil
}
