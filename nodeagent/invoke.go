package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/task"
)

// fault says why a task has no result.
type fault struct {
	failure *task.Failure
	retry   bool // another attempt could mend it
	refused bool // this agent cannot run it, and another one might: no failure

	cancelled bool // somebody asked for it
	late      bool // its deadline has passed
}

// invoke calls the function and writes its result to out. All code of its author runs below the recover: the function,
// its types' encodings, and the methods of the error that it returns.
func invoke(ctx context.Context, fn *registry.Function, in *task.Value, dst []byte, out *task.Value) (why *fault) {
	defer func() {
		if p := recover(); p != nil {
			why = &fault{retry: true, failure: &task.Failure{Kind: task.KindPanic, Message: printed(p), Stack: string(debug.Stack())}}
		}
	}()
	value, err := fn.Invoke(ctx, in, dst)
	if err != nil {
		return faultOf(err)
	}
	out.Set(&value)
	return nil
}

// printed returns what was panicked with, in words.
func printed(p any) (text string) {
	defer func() {
		if recover() != nil { // fmt catches most, but a method may end in any way
			text = fmt.Sprintf("a %T that cannot be printed", p)
		}
	}()
	return fmt.Sprint(p)
}

// faultOf describes an error that the function, or its encoding, returned. If that is another task's failure, it is the
// cause of this one.
func faultOf(err error) *fault {
	if e, encoding := err.(*registry.EncodingError); encoding { //nolint:errorlint // not one of another task, in the chain
		return &fault{failure: e.Failure}
	}
	failure := &task.Failure{Kind: task.KindError, Message: err.Error()}
	if f, failed := errors.AsType[*task.Failure](err); failed && f != nil {
		failure.Causes = task.Because(f).Causes
	}
	_, never := errors.AsType[*registry.NonRetryable](err)
	return &fault{failure: failure, retry: !never}
}
