package engine

import (
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// Errors that a program can act upon, through errors.Is. A task's own failure is a *task.Failure, through
// errors.As.
var (
	// ErrUnknownFunc: no agent has a function of that name.
	ErrUnknownFunc = task.ErrUnknownFunc
	// ErrInfeasible: no node has the resources that the function needs.
	ErrInfeasible = task.ErrInfeasible
	// ErrTooLarge: a value is larger than its store may be, or values together larger than a budget.
	ErrTooLarge = task.ErrTooLarge
	// ErrCancelled: the task was cancelled.
	ErrCancelled = task.ErrCancelled
	// ErrTimeout: an attempt took longer than its Timeout, or the task than its Deadline.
	ErrTimeout = task.ErrTimeout
	// ErrLeaseLost: another run of the named job has taken over.
	ErrLeaseLost = lease.ErrLost
	// ErrHeld: another run of the named job lives. The error names it.
	ErrHeld = lease.ErrHeld
	// ErrStorageFull: the store has so little room left that nothing new is taken.
	ErrStorageFull = values.ErrStorageFull
	// ErrPendingFull: the context ended while Submit waited for other tasks to end.
	ErrPendingFull = session.ErrPendingFull
	// ErrNoSession: the context carries no session.
	ErrNoSession = session.ErrNoSession
	// ErrTaskOver: something submitted under the context of a task that has ended.
	ErrTaskOver = session.ErrTaskOver
	// ErrClosed: the cluster was closed before the task had an outcome.
	ErrClosed = session.ErrClosed
	// ErrReleased: the value was given up by Release.
	ErrReleased = session.ErrReleased
	// ErrNoExport: nothing is exported under this token, or its time is over.
	ErrNoExport = session.ErrNoExport
	// ErrObjectLost: bytes of a value are kept nowhere any more.
	ErrObjectLost = task.ErrObjectLost
	// ErrOutOfBand: a Ref was to be encoded by something else than the engine.
	ErrOutOfBand = errors.New("a Ref is good in its own program alone: it cannot be encoded")
)

// NonRetryable marks an error of a function that another attempt would not mend: the task fails at once,
// whatever Retries says. It returns nil for nil.
func NonRetryable(err error) error {
	if err == nil {
		return nil
	}
	return &registry.NonRetryable{Err: err}
}

func wrap(verb string, err error) error {
	if _, ok := errors.AsType[*task.Failure](err); ok {
		return err // says for itself whose it is
	}
	return fmt.Errorf("engine: %s: %w", verb, err)
}
