package session

import (
	"context"
	"errors"
	"log/slog"
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
	taskKey    struct{}
)

// With returns a context that carries the session.
func With(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, sessionKey{}, s)
}

// From returns the session that the context carries; in a task, that is the agent's own.
func From(ctx context.Context) (*Session, error) {
	if t := TaskIn(ctx); t != nil && t.Host != nil {
		return t.Host.Session(ctx)
	}
	if s, ok := ctx.Value(sessionKey{}).(*Session); ok {
		return s, nil
	}
	return nil, ErrNoSession
}

// Host is the agent whose session this is: its slots run the children. All but Session and RunInline may be called under
// Session.mu; none of them may call the session.
type Host interface {
	// Session returns the session that owns what the agent's tasks submit. It is opened by the first of them.
	Session(ctx context.Context) (*Session, error)
	// WakeSlot has a free slot look for a child.
	WakeSlot()
	// RunInline runs a child on the goroutine and in the slot of its parent, which waits for it. It returns when the attempt
	// has ended, or at once if the child does not wait on this agent any more.
	RunInline(parent *TaskContext, child *Handle)
	// Yield gives the CPUs of a task that waits to other tasks.
	Yield(t *TaskContext)
	// Reacquire takes them back at once, so that the agent may run over its limit for a while: to wait for a slot that
	// another waiting task has yielded would be a deadlock.
	Reacquire(t *TaskContext)
}

// Attempt is what a TaskContext is of.
type Attempt interface {
	// Abort ends the attempt's context: its result is not wanted any more.
	Abort(why *task.Failure)
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
	Plain bool           // a child of the same class needs nothing but what the slot yields: CPUs
	Held  task.Resources // what a task keeps on this node while it waits: all but CPUs
}

// TaskContext is the context of a running task, and what it says of the task. It is one allocation, since each task needs
// one; what few tasks need is made when it is asked for. It ends when the task does.
//
// Each part has its own lock, or says which one guards it.
type TaskContext struct {
	*ExecEnv
	Spec  *task.Spec // what is run
	Call  *task.Call // and what it has in common with others
	Owner *string    // of the task
	Self  Attempt    // what this is of
	Depth int32      // how many attempts are below this one on the goroutine's stack

	of       *Child                   // guarded by Session.mu; what this is an attempt at; nil if that is not of this agent's session
	children atomic.Pointer[childSet] // nil until it has some
	slot     slotShare
	ctx      lazyContext
}

// TaskIn returns the task that runs under this context, nil outside of tasks.
func TaskIn(ctx context.Context) *TaskContext {
	t, _ := ctx.Value(taskKey{}).(*TaskContext)
	return t
}

// ID returns the task's.
func (t *TaskContext) ID() task.ID { return task.ID{Owner: *t.Owner, Number: t.Spec.Number} }

// Logger returns a logger whose lines carry the task's names.
func (t *TaskContext) Logger() *slog.Logger {
	return t.Log.With("func", t.Call.Func, "task", t.ID().String(), "attempt", t.Spec.Attempt, "node", t.Node)
}

// TimeoutAt returns the end of the attempt's timeout, zero if it has none.
func (t *TaskContext) TimeoutAt() time.Time { return t.ctx.timeoutAt() }

// SetTimeout bounds the attempt. It is called before the function is.
func (t *TaskContext) SetTimeout(at time.Time) { t.ctx.setTimeout(at) }

// Deadline makes TaskContext a context.Context.
func (t *TaskContext) Deadline() (time.Time, bool) {
	at, ok := t.Base.Deadline()
	if timeout := t.TimeoutAt(); !timeout.IsZero() && (!ok || timeout.Before(at)) {
		return timeout, true
	}
	return at, ok
}

// Done is closed when the task ends, or is to end.
func (t *TaskContext) Done() <-chan struct{} { return t.ctx.make(t.Base).Done() }

// Err says why Done is closed.
func (t *TaskContext) Err() error { return t.ctx.err(t.Base) }

// Value makes a TaskContext found by TaskIn.
func (t *TaskContext) Value(key any) any {
	if key == (taskKey{}) {
		return t
	}
	if made := t.ctx.context(t.Base); made != nil {
		return made.Value(key) // where the cause of its end is found
	}
	return t.Base.Value(key)
}

// Cancel ends the context before the task has ended, which is to end then.
func (t *TaskContext) Cancel(cause error) { t.ctx.cancel(t.Base, cause) }

// End ends the context: the task has ended.
func (t *TaskContext) End() { t.ctx.end() }
