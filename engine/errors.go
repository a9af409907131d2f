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

// Errors that a program can test for with errors.Is. The failure of a task is a *task.Failure; use errors.As for its
// details.
var (
	// ErrUnknownFunc means that no agent has a function of that name.
	ErrUnknownFunc = task.ErrUnknownFunc
	// ErrInfeasible means that no node has the resources that the task requires.
	ErrInfeasible = task.ErrInfeasible
	// ErrTooLarge means that a value exceeds the limit of its store, or that values together exceed a budget.
	ErrTooLarge = task.ErrTooLarge
	// ErrCancelled means that the task was cancelled.
	ErrCancelled = task.ErrCancelled
	// ErrTimeout means that an attempt exceeded its Timeout, or the task its Deadline.
	ErrTimeout = task.ErrTimeout
	// ErrLeaseLost means that another run of the named job has taken over.
	ErrLeaseLost = lease.ErrLost
	// ErrHeld means that another run of the named job is alive. The error names it.
	ErrHeld = lease.ErrHeld
	// ErrStorageFull means that the store is so full that it accepts no new tasks or values.
	ErrStorageFull = values.ErrStorageFull
	// ErrStorageLost means that Config.Dir was deleted, or can be written no more, so that the cluster can do nothing more.
	ErrStorageLost = values.ErrStorageLost
	// ErrPendingFull means that the context ended while Submit waited at a bound on pending tasks, or that a nested task
	// for other nodes would exceed the memory for inputs.
	ErrPendingFull = session.ErrPendingFull
	// ErrNoSession means that the context carries no session: use Cluster.Context, or the context that Main gives.
	ErrNoSession = session.ErrNoSession
	// ErrTaskOver means that the context belongs to a task that has ended, which can submit nothing any more.
	ErrTaskOver = session.ErrTaskOver
	// ErrClosed means that the cluster was closed before the task had an outcome.
	ErrClosed = session.ErrClosed
	// ErrReleased means that Release was called on a Ref to the value.
	ErrReleased = session.ErrReleased
	// ErrNoExport means that no value was exported under the token, or that its time to live has passed.
	ErrNoExport = session.ErrNoExport
	// ErrObjectLost means that no copy of a value's bytes is left.
	ErrObjectLost = task.ErrObjectLost
	// ErrOutOfBand means that a Ref was passed to an encoder other than the engine's own.
	ErrOutOfBand = errors.New("a Ref cannot be encoded outside of task inputs and results: use Export to hand its value to another program")
)

// NonRetryable marks an error of a function that another attempt would not avoid: the task fails at once, whatever
// Retries says. The mark is found through wrapping errors. NonRetryable(nil) is nil.
func NonRetryable(err error) error {
	if err == nil {
		return nil
	}
	return &registry.NonRetryable{Err: err}
}

// wrap says what was tried, unless the error is the failure of a task, which names the task itself.
func wrap(tried string, err error) error {
	if _, ok := errors.AsType[*task.Failure](err); ok {
		return err
	}
	return fmt.Errorf("engine: %s: %w", tried, err)
}
