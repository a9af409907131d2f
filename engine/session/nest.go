package session

import (
	"context"
	"slices"

	"github.com/tidemill/tidemill/engine/task"
)

// Host is the agent whose session this is: its slots run the children. But for Session and RunHere, all may be called
// under the session's lock.
type Host interface {
	// Session returns the session that owns what the agent's tasks submit. It is begun by the first of them.
	Session(ctx context.Context) (*Session, error)
	// Wake has a free slot look for a child.
	Wake()
	// RunHere runs a child on the goroutine and in the slot of its parent, which waits for it. It returns when the
	// attempt is over, or at once if the child waits here no more.
	RunHere(parent *TaskContext, child *Handle)
	// Lend gives the CPUs of a task that waits to others.
	Lend(r *TaskContext)
	// Resume takes them back at once, so that the agent may run over its limit for a while: to wait for a slot that
	// another one lends would be a deadlock.
	Resume(r *TaskContext)
}

// Attempt is what a TaskContext is of.
type Attempt interface {
	// Revoke ends the attempt's context: it is not wanted any more. It may be called under the session's lock.
	Revoke(why *task.Failure)
}

// maxHere bounds how many attempts are on one goroutine's stack.
const maxHere = 1000

// await waits for a task inside of another one, which runs it itself if it can, and lends its slot if not.
func (r *TaskContext) await(ctx context.Context, h *Handle) error {
	if r.runHere(ctx, h); h.ended.Load() {
		return nil
	}
	done := h.lendUntilDone(r)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		h.resumeNow(r)
		return ctx.Err()
	}
}

// lendUntilDone has the task lend its slot until the other one has its outcome: who brings that takes the slot back, at
// once, so that what can go on is not kept waiting by what could begin. It returns what Done does.
func (h *Handle) lendUntilDone(r *TaskContext) <-chan struct{} {
	if h.s == nil {
		return closedChannel
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if !h.ended.Load() {
		h.rarely().lent = append(h.rarely().lent, r)
		r.lend()
	}
	return h.doneChannel()
}

// resumeNow ends that before.
func (h *Handle) resumeNow(r *TaskContext) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.rare == nil {
		return // it has ended meanwhile
	}
	if i := slices.Index(h.rare.lent, r); i >= 0 {
		h.rare.lent = slices.Delete(h.rare.lent, i, i+1)
		r.resume()
	}
}

// runHere runs a child that waits, if this task may do that.
func (r *TaskContext) runHere(ctx context.Context, h *Handle) {
	if !r.borrowSelf(ctx, h) {
		return
	}
	defer r.returnSelf() // also where the child ends the goroutine
	r.Host.RunHere(r, h)
}

// borrowSelf reports whether the goroutine that waits may run the task meanwhile, in the parent's slot: the slot has
// what the child needs, nobody else uses it, and nothing can end the waiting before the child but what ends the child,
// too.
func (r *TaskContext) borrowSelf(ctx context.Context, h *Handle) bool {
	if h.child == nil || !r.Plain || r.Depth >= maxHere || h.route.template.Timeout > 0 || h.route.template.Deadline > 0 {
		return false
	}
	if ctx != context.Context(r) && ctx.Done() != r.Done() {
		return false
	}
	r.lending.Lock()
	defer r.lending.Unlock()
	if r.waits > 0 || r.here || r.over {
		return false
	}
	r.here = true
	return true
}

func (r *TaskContext) returnSelf() {
	r.lending.Lock()
	defer r.lending.Unlock()
	r.here = false
	if b := r.mother(); b.home != nil {
		close(b.home)
		b.home = nil
	}
	if r.waits > 0 && !r.over {
		r.Host.Lend(r)
	}
}

// lend gives the slot to others while a goroutine of the task waits; resume takes it back when none does.
func (r *TaskContext) lend() {
	r.lending.Lock()
	defer r.lending.Unlock()
	if r.waits++; r.waits == 1 && !r.here && !r.over {
		r.Host.Lend(r)
	}
}

func (r *TaskContext) resume() {
	r.lending.Lock()
	defer r.lending.Unlock()
	if r.waits--; r.waits == 0 && !r.here && !r.over {
		r.Host.Resume(r)
	}
}

// isOver reports whether Over was called.
func (r *TaskContext) isOver() bool {
	r.lending.Lock()
	defer r.lending.Unlock()
	return r.over
}

// away returns a channel that is closed when the child has ended that another goroutine of the task runs in its slot, nil
// if there is none.
func (r *TaskContext) away() <-chan struct{} {
	r.lending.Lock()
	defer r.lending.Unlock()
	if !r.here {
		return nil
	}
	b := r.mother()
	if b.home == nil {
		b.home = make(chan struct{})
	}
	return b.home
}

// Join waits for a child that another goroutine of the task still runs in its slot when its function has returned. It is
// cancelled, unless the result refers to it.
func (r *TaskContext) Join(s *Session, result []*Handle) {
	if r.brood.Load() == nil {
		return
	}
	for home := r.away(); home != nil; home = r.away() {
		s.Leave(r, result)
		<-home
	}
}

// Over says that the attempt has ended: what its goroutines still wait for is no reason to lend, and it submits
// nothing more.
func (r *TaskContext) Over() {
	r.lending.Lock()
	defer r.lending.Unlock()
	if r.waits > 0 && !r.here && !r.over {
		r.Host.Resume(r)
	}
	r.over = true
}

// waiting has the task under ctx lend its slot until the returned function is called. Outside of tasks it does
// nothing.
func waiting(ctx context.Context) (over func()) {
	r := TaskIn(ctx)
	if r == nil || r.Host == nil {
		return func() {}
	}
	r.lend()
	return r.resume
}

// Refer notes to which tasks the result of the attempt refers. They are settled before it is recorded.
func (r *TaskContext) Refer(handles []*Handle) { r.mother().refers = handles }

// Refers returns them.
func (r *TaskContext) Refers() []*Handle {
	if b := r.brood.Load(); b != nil {
		return b.refers
	}
	return nil
}

// mother returns the task's children to be added to.
func (r *TaskContext) mother() *brood {
	if b := r.brood.Load(); b != nil {
		return b
	}
	b := &brood{}
	b.open = b.few[:0]
	if !r.brood.CompareAndSwap(nil, b) {
		b = r.brood.Load()
	}
	return b
}

// nestedIn returns the task of this agent that submits, nil if it is none.
func (s *Session) nestedIn(ctx context.Context) *TaskContext {
	if s.cfg.Host == nil {
		return nil
	}
	return TaskIn(ctx)
}

// Mine reports whether a result of the task may refer to what the handle is of: what came with its input, or is of
// this agent's session.
func (r *TaskContext) Mine(h *Handle) bool {
	return h.s != nil && h.s.cfg.Host != nil && h.s.cfg.Host == r.Host
}
