package nodeagent

import (
	"context"
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
	unbegun bool // the attempt had not begun

	cancelled bool // somebody asked for it
	late      bool // its deadline has passed
}

// invoke calls the function and writes its result to out. All code of its author runs below the recover: the function,
// its types' encodings, and the methods of the error that it returns.
func invoke(ctx context.Context, fn *registry.Function, in *task.Value, dst []byte, out *task.Value) (why *fault) {
	defer func() {
		if p := recover(); p != nil {
			why = panicked(p, string(debug.Stack()))
		}
	}()
	value, err := fn.Invoke(ctx, in, dst)
	if err != nil {
		return faultOf(err)
	}
	out.Set(&value)
	return nil
}

// panicked describes a panic. If the value is an error, errors.Is and errors.As find it as if the function had returned it.
func panicked(p any, stack string) *fault {
	failure := &task.Failure{Kind: task.KindPanic, Message: printed(p), Stack: stack}
	if err, ok := p.(error); ok {
		describe(failure, err)
	}
	return &fault{retry: !failure.NonRetryable, failure: failure}
}

// describe is Failure.Describe with an error whose methods may panic, in which case nothing more is known of it.
func describe(f *task.Failure, err error) {
	defer func() { _ = recover() }()
	f.Describe(err)
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
// cause of this one, and not retried if that is not.
func faultOf(err error) *fault {
	if e, encoding := err.(*registry.EncodingError); encoding { //nolint:errorlint // not one of another task, in the chain
		return &fault{failure: e.Failure}
	}
	failure := task.FailureOf(err)
	return &fault{failure: failure, retry: !failure.NonRetryable}
}
