package session

import (
	"context"
	"sync"
)

// slotShare says what a task does with its slot: it has the slot, or has yielded its CPUs since one of its goroutines
// waits, or one of its goroutines runs a child in it meanwhile.
//
// mu guards it; it is taken after Session.mu and before the agent's locks. A yield and the reacquire that ends the same
// wait may come in either order: the count of waits is the same afterwards.
type slotShare struct {
	mu        sync.Mutex
	waits     int32 // goroutines of the task that wait
	inlining  bool  // one of them runs a child in the slot
	taskEnded bool  // the attempt has ended
}

// yield notes that a goroutine of the task waits: with the first one, the CPUs go to other tasks.
func (l *slotShare) yield(t *TaskContext) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits++; l.waits == 1 && !l.inlining && !l.taskEnded {
		t.Host.Yield(t)
	}
}

// reacquire notes that one does not wait any more: with the last one, the CPUs are taken back.
func (l *slotShare) reacquire(t *TaskContext) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits--; l.waits == 0 && !l.inlining && !l.taskEnded {
		t.Host.Reacquire(t)
	}
}

// beginInline reports whether the goroutine that asks may run a child in the slot: nobody else uses it, and it was not yielded.
func (l *slotShare) beginInline() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits > 0 || l.inlining || l.taskEnded {
		return false
	}
	l.inlining = true
	return true
}

// endInline ends what beginInline began, and tells who waits for it.
func (l *slotShare) endInline(t *TaskContext) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inlining = false
	t.childSet().inlined.Wake()
	if l.waits > 0 && !l.taskEnded {
		t.Host.Yield(t)
	}
}

// inlineDone returns a channel that is closed when the child has ended that runs in the slot, nil if none does.
func (l *slotShare) inlineDone(t *TaskContext) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.inlining {
		return nil
	}
	return t.childSet().inlined.C()
}

// isOver reports whether the attempt has ended.
func (l *slotShare) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taskEnded
}

// Finish says that the attempt has ended: what its goroutines still wait for is no reason to yield, and it submits nothing
// more.
func (t *TaskContext) Finish() {
	l := &t.slot
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits > 0 && !l.inlining && !l.taskEnded {
		t.Host.Reacquire(t)
	}
	l.taskEnded = true
}

// yieldIn has the task under ctx yield its slot until the returned function is called. Outside of tasks it does nothing.
func yieldIn(ctx context.Context) (done func()) {
	t := TaskIn(ctx)
	if t == nil || t.Host == nil {
		return func() {}
	}
	t.slot.yield(t)
	return func() { t.slot.reacquire(t) }
}

// await waits for another task, which it runs itself if it can, and yields its slot if not.
func (t *TaskContext) await(ctx context.Context, h *Handle) error {
	if t.runInline(ctx, h); h.ended.Load() {
		return nil
	}
	done, yields := h.yieldUntilDone(t)
	if yields {
		t.slot.yield(t)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		h.stopYielding(t)
		return ctx.Err()
	}
}

// maxInline bounds how many attempts are on one goroutine's stack.
const maxInline = 1000

// runInline runs a child that waits on this agent, if this goroutine may do that.
func (t *TaskContext) runInline(ctx context.Context, h *Handle) {
	if !t.mayInline(ctx, h) || !t.slot.beginInline() {
		return
	}
	defer t.slot.endInline(t) // also where the child ends the goroutine
	t.Host.RunInline(t, h)
}

// mayInline reports whether the child needs nothing but what the parent's slot has, and nothing can end the waiting before
// the child but what ends the child, too.
func (t *TaskContext) mayInline(ctx context.Context, h *Handle) bool {
	if h.child == nil || !t.Plain || t.Depth >= maxInline || h.route.template.Timeout > 0 || h.route.template.Deadline > 0 {
		return false
	}
	return ctx == context.Context(t) || ctx.Done() == t.Done()
}
