package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

// Errors of looking for a session in a context.
var (
	// ErrNoSession says that the context carries no session.
	ErrNoSession = errors.New("no session in the context: use the one that Main or Cluster.Context gives")
	// ErrTaskOver says that something submitted under the context of a task that has ended.
	ErrTaskOver = errors.New("the task has ended: nothing is submitted for it any more")
)

type (
	sessionKey struct{}
	runningKey struct{}
)

// With returns a context that carries the session.
func With(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

// From returns the session that the context carries; in a task, that is the agent's own.
func From(ctx context.Context) (*Session, error) {
	if r := TaskIn(ctx); r != nil && r.Host != nil {
		return r.Host.Session(ctx)
	}
	if s, ok := ctx.Value(sessionKey{}).(*Session); ok {
		return s, nil
	}
	return nil, ErrNoSession
}

// TaskContext is the context of a running task, and what it says of the task. It is its own context, of one
// allocation, which is a part of what each task costs: what few need is elsewhere, and the channel of Done is made when
// somebody asks for it. It ends when the task does.
type TaskContext struct {
	*ExecEnv
	Spec  *task.Spec // what is run
	Call  *task.Call // and what it has in common with others
	Owner *string    // of the task
	Self  Attempt    // what this is of
	Depth int32      // how many attempts are below this one on the goroutine's stack

	of    *Child                // what this is an attempt at; nil if that is not of this agent's session. Guarded by Session.mu
	brood atomic.Pointer[brood] // nil until it has children

	lending sync.Mutex // taken before the agent's locks
	waits   int32      // guarded by lending; goroutines of the task that wait
	here    bool       // guarded by lending; one of them runs a child meanwhile
	over    bool       // guarded by lending; the attempt has ended

	ended bool       // guarded by mu
	mu    sync.Mutex // taken last
	inner *inner     // guarded by mu; nil until the first Done or Cancel
}

// ExecEnv is what attempts of one class on one agent have in common.
//
//nolint:containedctx // it is a part of one
type ExecEnv struct {
	Base  context.Context // of the agent; ends when it does
	Node  string
	Log   *slog.Logger   // of the agent; without the task's names
	Host  Host           // nil = nothing can be submitted
	Class task.Class     // of the slot
	Plain bool           // a child of the same class needs nothing but what the slot lends
	Held  task.Resources // what a task holds on this node while it waits
}

// brood are a task's children.
type brood struct {
	open   []*Handle  // guarded by the agent's Session.mu; submitted and perhaps open
	few    [4]*Handle // where open begins
	refers []*Handle  // of the result; by the goroutine of the attempt

	home chan struct{} // guarded by TaskContext.lending; closed when the child that a goroutine of the task runs has ended
}

// inner is the context proper.
//
//nolint:containedctx // it is a context
type inner struct {
	context.Context // nil until somebody asks
	end             context.CancelCauseFunc
	drop            context.CancelFunc // of its timer; nil if it has none
	until           time.Time          // the end of the attempt's timeout; zero = none
}

// ID returns the task's.
func (r *TaskContext) ID() task.ID { return task.ID{Owner: *r.Owner, Number: r.Spec.Number} }

// Until returns the end of the attempt's timeout, zero if there is none.
func (r *TaskContext) Until() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.until()
}

// until is Until. mu is held.
func (r *TaskContext) until() time.Time {
	if r.inner == nil {
		return time.Time{}
	}
	return r.inner.until
}

// context returns the context proper, nil if nobody has asked for it. mu is held.
func (r *TaskContext) context() context.Context {
	if r.inner == nil {
		return nil
	}
	return r.inner.Context
}

// Deadline makes TaskContext a context.Context.
func (r *TaskContext) Deadline() (time.Time, bool) {
	at, ok := r.Base.Deadline()
	if until := r.Until(); !until.IsZero() && (!ok || until.Before(at)) {
		return until, true
	}
	return at, ok
}

// Done is closed when the task ends, or is to end.
func (r *TaskContext) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.within().Done()
}

// within returns inner. mu is held.
func (r *TaskContext) within() context.Context {
	in := r.made()
	if in.Context != nil {
		return in
	}
	around := r.Base
	if !in.until.IsZero() {
		around, in.drop = context.WithDeadlineCause(around, in.until, task.ErrTimeout)
	}
	in.Context, in.end = context.WithCancelCause(around)
	if r.ended {
		in.end(nil)
	}
	return in
}

// made returns inner to be filled. mu is held.
func (r *TaskContext) made() *inner {
	if r.inner == nil {
		r.inner = &inner{}
	}
	return r.inner
}

// Err says why Done is closed.
func (r *TaskContext) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	until := r.until()
	switch {
	case r.context() != nil:
		return r.inner.Err()
	case r.ended:
		return context.Canceled
	case !until.IsZero() && !time.Now().Before(until):
		return context.DeadlineExceeded
	}
	return r.Base.Err()
}

// Value makes a TaskContext found by TaskIn.
func (r *TaskContext) Value(key any) any {
	if key == (runningKey{}) {
		return r
	}
	r.mu.Lock()
	inner := r.context()
	r.mu.Unlock()
	if inner != nil {
		return inner.Value(key) // where the cause of its end is found
	}
	return r.Base.Value(key)
}

// EndAt bounds the attempt. It is called before the function is.
func (r *TaskContext) EndAt(until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made().until = until // it may have been cancelled already
}

// Cancel ends the context before the task has ended, which is to end then.
func (r *TaskContext) Cancel(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.within()
	r.inner.end(cause)
}

// End ends the context: the task has ended.
func (r *TaskContext) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.context() == nil {
		return
	}
	r.inner.end(nil)
	if r.inner.drop != nil {
		r.inner.drop()
	}
}

// TaskIn returns the task that runs under this context, nil outside of tasks.
func TaskIn(ctx context.Context) *TaskContext {
	r, _ := ctx.Value(runningKey{}).(*TaskContext)
	return r
}

// Logger returns a logger whose lines carry the task's names.
func (r *TaskContext) Logger() *slog.Logger {
	return r.Log.With("func", r.Call.Func, "task", r.ID().String(), "attempt", r.Spec.Attempt, "node", r.Node)
}
