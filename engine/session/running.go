package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
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
	if r := RunningIn(ctx); r != nil && r.Host != nil {
		return r.Host.Session(ctx)
	}
	if s, ok := ctx.Value(sessionKey{}).(*Session); ok {
		return s, nil
	}
	return nil, ErrNoSession
}

// Running is the context of a running task, and what it says of the task. It is its own context, of one
// allocation: the channel of Done is made when somebody asks for it. It ends when the task does.
//
//nolint:containedctx // it is a context, and holds the one around it
type Running struct {
	Parent  context.Context
	Node    string
	Func    string
	Task    task.ID
	Attempt int
	Log     *slog.Logger // of the agent; without the task's names
	Until   time.Time    // the end of the attempt's timeout; zero = none

	Host  Host           // nil = nothing can be submitted
	Self  Attempt        // what this is of
	Class task.Class     // of the slot
	Plain bool           // a child of the same class needs nothing but what the slot lends
	Held  task.Resources // what this task and those above it hold on this node while they wait
	Depth int            // how many attempts are below this one on the goroutine's stack

	lending sync.Mutex // taken before the agent's locks
	waits   int        // guarded by lending; goroutines of the task that wait
	here    bool       // guarded by lending; one of them runs a child meanwhile
	over    bool       // guarded by lending; the attempt has ended

	kids   []*Handle // guarded by the agent's Session.mu; submitted and perhaps open
	refers []*Handle // of the result; by the goroutine of the attempt

	mu    sync.Mutex
	inner context.Context         // guarded by mu; made by the first Done or Cancel
	end   context.CancelCauseFunc // guarded by mu; of inner
	drop  context.CancelFunc      // guarded by mu; of inner's timer
	ended bool                    // guarded by mu
}

// Deadline makes Running a context.Context.
func (r *Running) Deadline() (time.Time, bool) {
	at, ok := r.Parent.Deadline()
	if !r.Until.IsZero() && (!ok || r.Until.Before(at)) {
		return r.Until, true
	}
	return at, ok
}

// Done is closed when the task ends, or is to end.
func (r *Running) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.within().Done()
}

// within returns inner. mu is held.
func (r *Running) within() context.Context {
	if r.inner != nil {
		return r.inner
	}
	around := r.Parent
	if !r.Until.IsZero() {
		around, r.drop = context.WithDeadlineCause(around, r.Until, task.ErrTimeout)
	}
	r.inner, r.end = context.WithCancelCause(around)
	if r.ended {
		r.end(nil)
	}
	return r.inner
}

// Err says why Done is closed.
func (r *Running) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.inner != nil:
		return r.inner.Err()
	case r.ended:
		return context.Canceled
	case !r.Until.IsZero() && !time.Now().Before(r.Until):
		return context.DeadlineExceeded
	}
	return r.Parent.Err()
}

// Value makes a Running found by RunningIn.
func (r *Running) Value(key any) any {
	if key == (runningKey{}) {
		return r
	}
	r.mu.Lock()
	inner := r.inner
	r.mu.Unlock()
	if inner != nil {
		return inner.Value(key) // where the cause of its end is found
	}
	return r.Parent.Value(key)
}

// Cancel ends the context before the task has ended, which is to end then.
func (r *Running) Cancel(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.within()
	r.end(cause)
}

// End ends the context: the task has ended.
func (r *Running) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.end != nil {
		r.end(nil)
	}
	if r.drop != nil {
		r.drop()
	}
}

// RunningIn returns the task that runs under this context, nil outside of tasks.
func RunningIn(ctx context.Context) *Running {
	r, _ := ctx.Value(runningKey{}).(*Running)
	return r
}

// Logger returns a logger whose lines carry the task's names.
func (r *Running) Logger() *slog.Logger {
	return r.Log.With("func", r.Func, "task", r.Task.String(), "attempt", r.Attempt, "node", r.Node)
}

// EncodingError says that an input or a result does not fit its type: what cannot be encoded now cannot be later. It is
// no error of the function's own.
type EncodingError struct{ Failure *task.Failure }

// Error returns the failure's text.
func (e *EncodingError) Error() string { return e.Failure.Error() }

// NonRetryable marks an error that another attempt would not mend.
type NonRetryable struct{ Err error }

// Error returns the text of the marked error.
func (e *NonRetryable) Error() string { return e.Err.Error() }

// Unwrap returns the marked error.
func (e *NonRetryable) Unwrap() error { return e.Err }
