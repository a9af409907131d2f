package task_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/engine/task"
)

var errEmpty = errors.New("account is empty")

type limitError struct {
	Limit int
	Notes []string
}

func (e *limitError) Error() string { return fmt.Sprint("over the limit of ", e.Limit) }

// Is makes any two limits equal.
func (e *limitError) Is(target error) bool { return target == errLimit }

var errLimit = errors.New("some limit")

type codeError int

func (e codeError) Error() string { return fmt.Sprint("code ", int(e)) }

func init() {
	for _, err := range []error{
		task.RegisterSentinel("empty", errEmpty),
		task.RegisterErrorType("limit", reflect.TypeFor[*limitError]()),
		task.RegisterErrorType("code", reflect.TypeFor[codeError]()),
	} {
		if err != nil {
			panic(err)
		}
	}
}

// sent returns the failure as it arrives over the wire.
func sent(t *testing.T, f *task.Failure) *task.Failure {
	t.Helper()
	got, err := task.DecodeFailure(task.AppendFailure(nil, f))
	if err != nil {
		t.Fatalf("decode the failure: got %v, want no error", err)
	}
	return got
}

// sentAsJSON returns the failure as it arrives as JSON.
func sentAsJSON(t *testing.T, f *task.Failure) *task.Failure {
	t.Helper()
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatalf("encode the failure: got %v, want no error", err)
	}
	got := new(task.Failure)
	if err := json.Unmarshal(data, got); err != nil {
		t.Fatalf("decode the failure: got %v, want no error", err)
	}
	return got
}

// What errors.Is finds in an error, it finds in the failure of the task that has returned it, and in those of tasks that hand
// that failure on, and it finds nothing else.
func TestSentinelsAreFoundInFailures(t *testing.T) {
	_, noFile := os.Open("/no/such/file")
	sentinels := []error{
		errEmpty, errLimit, codeError(5), fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, io.EOF, io.ErrUnexpectedEOF,
		context.Canceled, context.DeadlineExceeded, os.ErrDeadlineExceeded, task.ErrTimeout, task.ErrInfeasible,
	}
	for _, returned := range []error{
		errors.New("account is empty"), errEmpty, fmt.Errorf("pay: %w", errEmpty), noFile, io.EOF, context.DeadlineExceeded, os.ErrDeadlineExceeded,
		errors.Join(io.ErrUnexpectedEOF, fmt.Errorf("and: %w", errors.Join(fs.ErrExist, context.Canceled))), &limitError{Limit: 7}, codeError(5), codeError(6),
		&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, &task.NonRetryable{Err: fs.ErrPermission},
		errors.Join(&task.Failure{Kind: task.KindTimeout}, fmt.Errorf("%w", &task.Failure{Kind: task.KindInfeasible})),
	} {
		f := task.FailureOf(returned)
		parent := task.FailureOf(fmt.Errorf("ask another task: %w", sent(t, f)))
		for way, got := range map[string]error{
			"as it is": f, "sent": sent(t, f), "as JSON": sentAsJSON(t, f), "of a parent": sent(t, parent), "of a dependent": sent(t, task.Because(f)),
			"of a parent of a dependent": sent(t, task.FailureOf(task.Because(f))),
		} {
			for _, sentinel := range sentinels {
				if is, want := errors.Is(got, sentinel), errors.Is(returned, sentinel); is != want {
					t.Errorf("%#v, %s: is it %v: got %v, want %v", returned, way, sentinel, is, want)
				}
			}
		}
	}
}

// errors.As finds errors of registered types with what they have in them.
func TestRegisteredTypesAreFoundInFailures(t *testing.T) {
	f := sent(t, task.FailureOf(errors.Join(io.EOF, fmt.Errorf("pay: %w", &limitError{7, []string{"a"}}), codeError(404))))
	limit, ok := errors.AsType[*limitError](fmt.Errorf("get: %w", f))
	if !ok || !reflect.DeepEqual(limit, &limitError{7, []string{"a"}}) {
		t.Errorf("got %+v, %v; want the limit of 7", limit, ok)
	}
	if code, ok := errors.AsType[codeError](f); !ok || code != 404 {
		t.Errorf("got %v, %v; want code 404", code, ok)
	}
	if got, ok := errors.AsType[*fs.PathError](f); ok {
		t.Errorf("got %v, want no *fs.PathError", got)
	}
	if got := errors.As(f, new(*task.Failure)); !got {
		t.Error("errors.As for a *task.Failure: got false, want true")
	}
}

// What is not registered keeps its text and its type's name; a code that this process does not know stays, and is not found.
func TestUnregisteredErrorsKeepTheirTypes(t *testing.T) {
	f := sent(t, task.FailureOf(fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: &net.AddrError{Err: "no", Addr: "x"}})))
	want := []task.ErrorInfo{{Type: "*net.OpError"}, {Type: "*net.AddrError"}}
	if !reflect.DeepEqual(f.Errors, want) || f.Message != "dial: dial: address x: no" {
		t.Errorf("got %+v and %q, want %+v and the error's text", f.Errors, f.Message, want)
	}
	for _, unknown := range []task.ErrorInfo{{Code: "of-another-program"}, {Code: "limit"}, {Code: "limit", Details: []byte("[")}, {Code: "limit", Details: []byte("null")}} {
		f := sent(t, &task.Failure{Errors: []task.ErrorInfo{unknown, {Code: "io.EOF"}}})
		if !errors.Is(f, io.EOF) || errors.As(f, new(*limitError)) {
			t.Errorf("with %+v: got EOF %v, a limit %v; want true, false", unknown, errors.Is(f, io.EOF), errors.As(f, new(*limitError)))
		}
		if again := sent(t, task.FailureOf(f)); !reflect.DeepEqual(again.Errors[:1], []task.ErrorInfo{{Code: "io.EOF"}}) || len(again.Errors) != 2 {
			t.Errorf("handed on with %+v: got %+v, want both", unknown, again.Errors)
		}
	}
}

// The errors of a failure are limited, and registered ones come first.
func TestErrorsOfAFailureAreLimited(t *testing.T) {
	var all []error
	for range 2 * task.MaxErrors {
		all = append(all, fmt.Errorf("%w", &net.AddrError{}))
	}
	for n := range 2 * task.MaxErrors {
		all = append(all, codeError(n))
	}
	f := sent(t, task.FailureOf(errors.Join(append(all[:40:40], io.EOF)...)))
	if len(f.Errors) > task.MaxErrors || !errors.Is(f, io.EOF) || f.Errors[len(f.Errors)-1].Type != "*net.AddrError" {
		t.Errorf("got %d errors, EOF %v; want at most %d, with it, and other types last", len(f.Errors), errors.Is(f, io.EOF), task.MaxErrors)
	}
	if f := sent(t, task.FailureOf(errors.Join(all[2*task.MaxErrors:]...))); len(f.Errors) != task.MaxErrors {
		t.Errorf("got %d errors, want %d", len(f.Errors), task.MaxErrors)
	}
	long := sent(t, task.FailureOf(&limitError{Notes: []string{strings.Repeat("x", task.MaxErrorDetails)}}))
	want := []task.ErrorInfo{{Code: "limit", Type: "*task_test.limitError"}}
	if !reflect.DeepEqual(long.Errors, want) || errors.As(long, new(*limitError)) {
		t.Errorf("with long details: got %+v, want %+v, which errors.As does not find", long.Errors, want)
	}
}

// NonRetryable is found wherever errors.As would find it, and in failures of other tasks.
func TestNonRetryableIsAdopted(t *testing.T) {
	marked := task.FailureOf(fmt.Errorf("pay: %w", &task.NonRetryable{Err: errEmpty}))
	for _, err := range []error{marked, errors.Join(io.EOF, sent(t, marked)), fmt.Errorf("order: %w", task.Because(marked))} {
		if f := sent(t, task.FailureOf(err)); !f.NonRetryable {
			t.Errorf("%v: got a failure that may be retried, want NonRetryable", err)
		}
	}
	if f := task.FailureOf(errors.New(marked.Error())); f.NonRetryable {
		t.Error("the text alone: got NonRetryable, want not")
	}
}

func TestRegisteringTwiceIsAnError(t *testing.T) {
	for what, err := range map[string]error{
		"the code of a sentinel": task.RegisterSentinel("empty", io.EOF),
		"the code of a type":     task.RegisterErrorType("limit", reflect.TypeFor[*os.LinkError]()),
		"a type":                 task.RegisterErrorType("limit-2", reflect.TypeFor[*limitError]()),
	} {
		if err == nil || !strings.Contains(err.Error(), "registered") {
			t.Errorf("%s: got %v, want an error that it is registered already", what, err)
		}
	}
}
