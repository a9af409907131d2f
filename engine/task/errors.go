package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ErrorInfo is what a failure keeps of one error in the tree of errors that the function returned: errors.Is and errors.As
// find a registered error in the failure again, in any process that has registered it under the same code.
type ErrorInfo struct {
	Code    string          `json:"code,omitempty"`    // under which it is registered; "" if it is not
	Type    string          `json:"type,omitempty"`    // its Go type, such as "*fs.PathError"; "" for a sentinel
	Details json.RawMessage `json:"details,omitempty"` // the error as JSON, if its type is registered
}

// Limits of the errors of a failure: how many, and bytes of the details of each. Registered errors come before others. An
// error whose details are longer keeps its code and type, and errors.As does not find it.
const (
	MaxErrors       = 16
	MaxErrorDetails = 4 << 10
	maxErrorName    = 256 // bytes of a code, and of a type
)

// NonRetryable marks an error that another attempt would not avoid.
type NonRetryable struct{ Err error }

// Error returns the text of the marked error.
func (e *NonRetryable) Error() string { return e.Err.Error() }

// Unwrap returns the marked error.
func (e *NonRetryable) Unwrap() error { return e.Err }

// knownError is a registered error: a sentinel, or a type.
type knownError struct {
	code     string
	sentinel error        // nil for a type
	typ      reflect.Type // nil for a sentinel
}

// knownErrors are all registered errors of this process.
var knownErrors = struct {
	sync.RWMutex
	byCode    map[string]*knownError
	byType    map[reflect.Type]*knownError
	sentinels []*knownError // sorted by code
}{byCode: map[string]*knownError{}, byType: map[reflect.Type]*knownError{}}

// RegisterSentinel makes a failure match the error, which is a value that errors.Is compares with, wherever a function has
// returned it. It returns an error if the code is taken.
func RegisterSentinel(code string, sentinel error) error {
	return register(&knownError{code: code, sentinel: sentinel})
}

// RegisterErrorType has a failure carry errors of a type as JSON. It returns an error if the code or the type is taken.
func RegisterErrorType(code string, t reflect.Type) error {
	return register(&knownError{code: code, typ: t})
}

func register(k *knownError) error {
	knownErrors.Lock()
	defer knownErrors.Unlock()
	switch {
	case knownErrors.byCode[k.code] != nil:
		return fmt.Errorf("task: the error code %q is registered twice: give one of the errors another code", k.code)
	case k.typ != nil && knownErrors.byType[k.typ] != nil:
		return fmt.Errorf("task: the error type %s is registered already, under the code %q", k.typ, knownErrors.byType[k.typ].code)
	}
	knownErrors.byCode[k.code] = k
	if k.typ != nil {
		knownErrors.byType[k.typ] = k
		return nil
	}
	at, _ := slices.BinarySearchFunc(knownErrors.sentinels, k.code, func(k *knownError, code string) int { return strings.Compare(k.code, code) })
	knownErrors.sentinels = slices.Insert(slices.Clone(knownErrors.sentinels), at, k) // readers keep the old slice
	return nil
}

// What every Go program has is registered under its Go name, which has a dot: codes of programs have none.
func init() {
	for code, sentinel := range map[string]error{
		"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
		"errors.ErrUnsupported": errors.ErrUnsupported,
		"fs.ErrClosed":          fs.ErrClosed, "fs.ErrExist": fs.ErrExist, "fs.ErrInvalid": fs.ErrInvalid,
		"fs.ErrNotExist": fs.ErrNotExist, "fs.ErrPermission": fs.ErrPermission,
		"io.EOF": io.EOF, "io.ErrClosedPipe": io.ErrClosedPipe, "io.ErrNoProgress": io.ErrNoProgress,
		"io.ErrShortBuffer": io.ErrShortBuffer, "io.ErrShortWrite": io.ErrShortWrite, "io.ErrUnexpectedEOF": io.ErrUnexpectedEOF,
		"os.ErrDeadlineExceeded": os.ErrDeadlineExceeded, "os.ErrProcessDone": os.ErrProcessDone,
		"strconv.ErrRange": strconv.ErrRange, "strconv.ErrSyntax": strconv.ErrSyntax,
		"tidemill.ErrUnknownFunc": ErrUnknownFunc, "tidemill.ErrInfeasible": ErrInfeasible, "tidemill.ErrTooLarge": ErrTooLarge,
		"tidemill.ErrCancelled": ErrCancelled, "tidemill.ErrTimeout": ErrTimeout, "tidemill.ErrObjectLost": ErrObjectLost,
	} {
		if err := RegisterSentinel(code, sentinel); err != nil {
			panic(err)
		}
	}
}

// FailureOf returns the failure of a task whose function returned the error: with its text, the registered errors in it, the
// mark of NonRetryable, and as its causes another task's failure if there is one in it.
func FailureOf(err error) *Failure {
	f := &Failure{Kind: KindError, Message: err.Error()}
	f.Describe(err)
	return f
}

// Describe has the failure match the registered errors in err, and adopt from it NonRetryable and the causes. Methods of
// the errors are called, which may panic.
func (f *Failure) Describe(err error) {
	var known, others []ErrorInfo
	knownErrors.RLock()
	sentinels := knownErrors.sentinels
	knownErrors.RUnlock()
	for _, k := range sentinels {
		if errors.Is(err, k.sentinel) {
			known = addInfo(known, ErrorInfo{Code: k.code})
		}
	}
	for e := range errorTree(err) {
		switch e := e.(type) { //nolint:errorlint // each error of the tree is looked at
		case *Failure:
			if e == nil {
				continue
			}
			f.NonRetryable = f.NonRetryable || e.NonRetryable
			if f.Causes == nil {
				f.Causes = Because(e).Causes
			}
			for _, info := range e.Errors {
				known, others = sorted(known, others, info)
			}
		case *NonRetryable:
			f.NonRetryable = true
		default:
			if info, ok := infoOf(e); ok {
				known, others = sorted(known, others, info)
			}
		}
	}
	f.Errors = slices.Concat(known, others[:min(len(others), MaxErrors-len(known))])
}

// sorted adds the error to those that are registered, or to the others.
func sorted(known, others []ErrorInfo, info ErrorInfo) (_, _ []ErrorInfo) {
	if info.Code == "" {
		return known, addInfo(others, info)
	}
	return addInfo(known, info), others
}

// addInfo adds the error unless it is there already, or too many are.
func addInfo(infos []ErrorInfo, info ErrorInfo) []ErrorInfo {
	same := func(other ErrorInfo) bool {
		return other.Code == info.Code && other.Type == info.Type && string(other.Details) == string(info.Details)
	}
	if len(infos) == MaxErrors || slices.ContainsFunc(infos, same) {
		return infos
	}
	return append(infos, info)
}

// infoOf describes one error. ok is false if its type says nothing: those of fmt and errors only wrap others, or have a text.
func infoOf(err error) (info ErrorInfo, ok bool) {
	t := reflect.TypeOf(err)
	knownErrors.RLock()
	k := knownErrors.byType[t]
	knownErrors.RUnlock()
	name := t
	if t.Kind() == reflect.Pointer {
		name = t.Elem()
	}
	if k == nil {
		pkg := name.PkgPath()
		return ErrorInfo{Type: Clip(t.String(), maxErrorName)}, pkg != "fmt" && pkg != "errors"
	}
	info = ErrorInfo{Code: k.code, Type: Clip(t.String(), maxErrorName)}
	if t.Kind() == reflect.Pointer && reflect.ValueOf(err).IsNil() {
		return info, true
	}
	if details, err := json.Marshal(err); err == nil && len(details) <= MaxErrorDetails {
		info.Details = details
	}
	return info, true
}

// maxErrorTree bounds how many errors of a tree are looked at.
const maxErrorTree = 64

// errorTree yields the error and what it wraps, in the order in which errors.Is looks at them.
func errorTree(err error) iter.Seq[error] {
	return func(yield func(error) bool) {
		rest := []error{err}
		for n := 0; len(rest) > 0 && n < maxErrorTree; n++ {
			e := rest[len(rest)-1]
			rest = rest[:len(rest)-1]
			if e == nil {
				continue
			}
			if !yield(e) {
				return
			}
			switch e := e.(type) { //nolint:errorlint // this walks the tree
			case *Failure:
				if e != nil {
					rest = append(rest, e.Unwrap())
				}
			case interface{ Unwrap() error }:
				rest = append(rest, e.Unwrap())
			case interface{ Unwrap() []error }:
				inner := e.Unwrap()
				for i := range inner {
					rest = append(rest, inner[len(inner)-1-i])
				}
			}
		}
	}
}

// registered returns the registered error that the info describes, nil if this process has none under the code, or if its
// details do not fit the type.
func (i *ErrorInfo) registered() error {
	if i.Code == "" {
		return nil
	}
	knownErrors.RLock()
	k := knownErrors.byCode[i.Code]
	knownErrors.RUnlock()
	switch {
	case k == nil:
		return nil
	case k.typ == nil:
		return k.sentinel
	case i.Details == nil:
		return nil
	}
	v := reflect.New(k.typ)
	readable := json.Unmarshal(i.Details, v.Interface()) == nil
	if !readable || k.typ.Kind() == reflect.Pointer && v.Elem().IsNil() {
		return nil
	}
	err, _ := reflect.TypeAssert[error](v.Elem())
	return err
}

// Is reports whether target is the error for the failure's kind, or is among the registered errors of the failure.
func (f *Failure) Is(target error) bool {
	if sentinel, ok := causes[f.Kind]; ok && sentinel == target {
		return true
	}
	for n := range f.Errors {
		if err := f.Errors[n].registered(); err != nil && errors.Is(err, target) {
			return true
		}
	}
	return false
}

// As sets target to the first registered error of the failure that is of its type. It is for errors.As, which says what
// target must be.
func (f *Failure) As(target any) bool {
	for n := range f.Errors {
		if err := f.Errors[n].registered(); err != nil && errors.As(err, target) {
			return true
		}
	}
	return false
}
