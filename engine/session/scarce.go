package session

import (
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/engine/task"
)

// What is no CPU stays with a task that waits. So a child can need what the tasks that wait for it hold, and no node may
// ever have both: such a child is refused, since else it would wait for ever, and they with it.

// mayLack notes a child that needs what is no CPU, while something above it holds some. mu is held.
func (s *Session) mayLack(c *Child) {
	if !c.handle.route.keeps {
		return // as most, and then nobody looks up the chain
	}
	for above := c.parent; above != nil; above = above.above() {
		if len(above.Held) > 0 {
			s.scarce[c] = true
			return
		}
	}
}

// above returns the task that has submitted this one, if both are of this agent; nil else. The session's mu is held.
func (r *TaskContext) above() *TaskContext {
	if r.of == nil {
		return nil
	}
	return r.of.parent
}

// OfChild says that an attempt at a task that came in a batch is one at a child of this session, if it is.
func (s *Session) OfChild(r *TaskContext, number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.openTask(number); h != nil {
		r.of = h.child
	}
}

// RefuseImpossible has children fail that could never run. It is to be called now and then.
func (s *Session) RefuseImpossible() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.scarce {
		if c.runs != nil || s.broken != nil {
			continue
		}
		shape, held := c.handle.route.lane.shape, s.heldFor(c)
		if len(held) > 0 && !s.nodes.FitBeside(shape, s.cfg.Node, held) {
			s.condemn(&c.handle, &task.Failure{Kind: task.KindInfeasible, Message: fmt.Sprintf(
				"it needs %s, and the tasks that wait for it hold %s of %s: what is no CPU is not lent while they wait, so this could never run",
				shape, held, s.cfg.Node)})
		}
	}
}

// heldFor returns what tasks hold that wait for a child, or for one that waits for it, and so on. mu is held.
func (s *Session) heldFor(c *Child) (held task.Resources) {
	for c != nil && s.isAwaited(c) {
		held = slices.Clone(held).And(c.parent.Held)
		c = c.parent.of
	}
	return held
}

// isAwaited reports whether the task that submitted the child waits for it for sure. Of one that waits for some of
// many, that is sure if no other child of it can end. mu is held.
func (s *Session) isAwaited(c *Child) bool {
	h, parent := &c.handle, c.parent
	switch {
	case parent == nil:
		return false
	case c.runs != nil && c.runs.Depth > 0: // on its goroutine
		return true
	case h.rare != nil && (slices.Contains(h.rare.lent, parent) || slices.Contains(h.rare.polled, parent)):
		return true
	case h.first == nil || !h.first.isLentBy(parent):
		return false
	}
	return !slices.ContainsFunc(parent.mother().open, func(o *Handle) bool { return !o.ended.Load() && !s.scarce[o.child] })
}
