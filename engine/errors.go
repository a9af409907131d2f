package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// Errors that a program can test for with errors.Is. The failure of a task is a *task.Failure; use errors.As for its
// details. Errors of a program's own are found in it when they are registered (RegisterError, RegisterErrorType).
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
// Retries says. The mark is found through wrapping errors, after the attempt's Timeout, and if the function panics with the
// error. NonRetryable(nil) is nil.
//
// The mark stays on the failure of the task (task.Failure.NonRetryable). So a task that returns the failure of a nested task
// that was so marked, as it is, wrapped or joined, is not retried either. To have it retried, return an error that does not
// wrap the failure.
func NonRetryable(err error) error {
	if err == nil {
		return nil
	}
	return &task.NonRetryable{Err: err}
}

// RegisterError gives an error value, such as io.EOF or one made by errors.New, a code that is the same in all processes.
// errors.Is then finds the error in the failure of a task whose function has returned it, wrapped or joined or not, or a
// failure of another task that has it. It returns the error, so that it can be called where the error is made:
//
//	var ErrEmpty = engine.RegisterError("account-empty", errors.New("account is empty"))
//
// The code must match [a-z0-9_-]{1,64}; the programs that run and submit a function must use the same ones. RegisterError
// panics if the code is invalid or taken, or the error is nil. Registered from the start are the errors of this package, and
// of the standard library context.Canceled and DeadlineExceeded, errors.ErrUnsupported, fs.ErrClosed, ErrExist, ErrInvalid,
// ErrNotExist and ErrPermission, io.EOF, ErrClosedPipe, ErrNoProgress, ErrShortBuffer, ErrShortWrite and ErrUnexpectedEOF,
// os.ErrDeadlineExceeded and ErrProcessDone, strconv.ErrRange and ErrSyntax.
//
// An error that is not registered keeps its text and the name of its type (task.Failure.Message and Errors).
func RegisterError(code string, err error) error {
	failed := task.CheckName("error code", code)
	if failed == nil && err == nil {
		failed = errors.New("the error is nil")
	}
	if failed == nil {
		failed = task.RegisterSentinel(code, err)
	}
	if failed != nil {
		panic(fmt.Sprintf("engine: RegisterError(%q): %v", code, failed))
	}
	return err
}

// RegisterErrorType is as RegisterError for a type of errors: errors.As finds an error of type E in the failure of a task, with
// the values that it had. It travels as JSON, so E has methods MarshalJSON and UnmarshalJSON, or fields that lose nothing, as
// NewFunc wants them. An error whose JSON is longer than task.MaxErrorDetails is not found. E is most often a pointer. Call it
// in an init function:
//
//	func init() { engine.RegisterErrorType[*LimitError]("over-limit") }
//
// RegisterErrorType panics if the code is invalid or taken, if E is registered already, and if E would lose data.
func RegisterErrorType[E error](code string) {
	t := reflect.TypeFor[E]()
	err := task.CheckName("error code", code)
	if err == nil {
		err = checkErrorType[E](t)
	}
	if err == nil {
		err = task.RegisterErrorType(code, t)
	}
	if err != nil {
		panic(fmt.Sprintf("engine: RegisterErrorType[%s](%q): %v", t, code, err))
	}
}

var jsonPair = [2]reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler]()}

// checkErrorType returns an error if an error of the type would lose data as JSON.
func checkErrorType[E error](t reflect.Type) error {
	base := t
	if t.Kind() == reflect.Pointer {
		base = t.Elem()
	}
	p := reflect.PointerTo(base)
	switch {
	case t.Kind() == reflect.Interface:
		return errors.New("an interface has no values of its own: register the types that implement it")
	case p.Implements(jsonPair[0]) && p.Implements(jsonPair[1]):
		return nil
	case shapeOf[E]().plan != nil:
		return errors.New("an error cannot have Refs or Arrow data in it")
	}
	return checkType[E]("error")
}

// The errors of this package that are not the kind of a failure: a task may return those that a nested one had.
func init() {
	for code, err := range map[string]error{
		"ErrLeaseLost": ErrLeaseLost, "ErrHeld": ErrHeld, "ErrStorageFull": ErrStorageFull, "ErrPendingFull": ErrPendingFull,
		"ErrNoSession": ErrNoSession, "ErrTaskOver": ErrTaskOver, "ErrClosed": ErrClosed, "ErrReleased": ErrReleased,
		"ErrNoExport": ErrNoExport, "ErrOutOfBand": ErrOutOfBand,
	} {
		if err := task.RegisterSentinel("tidemill."+code, err); err != nil {
			panic(err)
		}
	}
}

// wrap says what was tried, unless the error is the failure of a task, which names the task itself, or says what else was tried.
func wrap(tried string, err error) error {
	if _, ok := errors.AsType[*task.Failure](err); ok {
		return err
	}
	if _, ok := errors.AsType[*session.OpError](err); ok {
		return err
	}
	return fmt.Errorf("engine: %s: %w", tried, err)
}
