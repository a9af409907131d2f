package session

import (
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/engine/task"
)

// A task that waits yields its CPUs and keeps everything else. So a child can need what the tasks that wait for it hold,
// and no node may ever have both: such a child fails, since else it would wait for ever, and they with it.

// noteCandidate notes a child that needs more than CPUs while something above it holds some of that.
func (c *children) noteCandidate(child *Child) {
	if !child.handle.route.keeps {
		return // most children: the chain need not be searched
	}
	for above := child.parent; above != nil; above = above.submitter() {
		if len(above.Held) > 0 {
			c.candidates[child] = true
			return
		}
	}
}

// submitter returns the task that has submitted this one, if both are of this agent; nil otherwise. Session.mu is held.
func (t *TaskContext) submitter() *TaskContext {
	if t.of == nil {
		return nil
	}
	return t.of.parent
}

// FailUnrunnable has children fail that could never run, since the tasks that wait for them hold what they need. It is to
// be called now and then.
func (s *Session) FailUnrunnable() {
	u := s.lock()
	defer u.unlock()
	for c := range s.children.candidates {
		if c.runs != nil || s.broken != nil {
			continue
		}
		shape, held := c.handle.route.lane.shape, s.children.heldFor(c)
		if len(held) > 0 && !s.nodes.FitBeside(shape, s.cfg.Node, held) {
			u.failInput(&c.handle, &task.Failure{Kind: task.KindInfeasible, Message: fmt.Sprintf(
				"it needs %s, and the tasks that wait for it hold %s of node %s: a waiting task gives up its CPUs and keeps the rest, so this task could never run",
				shape, held, s.cfg.Node)})
		}
	}
}

// heldFor returns what tasks hold that wait for a child, or for one that waits for it, and so on.
func (c *children) heldFor(child *Child) (held task.Resources) {
	for child != nil && c.isAwaited(child) {
		held = slices.Clone(held).And(child.parent.Held)
		child = child.parent.of
	}
	return held
}

// isAwaited reports whether the task that submitted the child certainly waits for it. Of one that waits for some of many,
// that is certain if no other child of it can end.
func (c *children) isAwaited(child *Child) bool {
	h, parent := &child.handle, child.parent
	switch {
	case parent == nil:
		return false
	case child.runs != nil && child.runs.Depth > 0: // on the parent's goroutine
		return true
	case h.extra != nil && (slices.Contains(h.extra.yielded, parent) || slices.Contains(h.extra.polling, parent)):
		return true
	case h.first == nil || !h.first.isWaitedForBy(parent):
		return false
	}
	return !slices.ContainsFunc(parent.childSet().open, func(o *Handle) bool { return !o.ended.Load() && !c.candidates[o.child] })
}
