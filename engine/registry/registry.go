package registry

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemill/tidemill/engine/task"
)

// Function is code that tasks can name.
type Function struct {
	Name    string
	Version string // part of a task's identity: changed when the code's answer changes

	// Invoke decodes the input, calls the code and encodes its result behind dst. It changes nothing of in. An error that is a
	// *task.Failure is the task's failure as it stands; any other is the code's own. It may panic: who
	// calls it recovers.
	Invoke func(ctx context.Context, in *task.Value, dst []byte) (task.Value, error)
}

// Registry keeps functions by name. It is safe for concurrent use, and functions may be added while
// agents serve it.
type Registry struct {
	mu      sync.RWMutex
	funcs   map[string]*Function // guarded by mu
	changes uint64               // guarded by mu
}

// New returns an empty registry.
func New() *Registry { return &Registry{funcs: map[string]*Function{}} }

// Add registers the function. A name that is taken, or that is no name, is an error.
func (r *Registry) Add(f *Function) error {
	if err := task.CheckName("function", f.Name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.funcs[f.Name] != nil {
		return fmt.Errorf("registry: function %q is registered twice", f.Name)
	}
	r.funcs[f.Name] = f
	r.changes++
	return nil
}

// Lookup returns the function of that name, nil if there is none.
func (r *Registry) Lookup(name string) *Function {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.funcs[name]
}

// Names returns all names, sorted, and a count that grows with each change.
func (r *Registry) Names() (names []string, changes uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name := range r.funcs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, r.changes
}

// EncodingError is returned by Invoke when an input or a result does not fit its type: another attempt would fail in
// the same way. It is no error of the function's own code.
type EncodingError struct{ Failure *task.Failure }

// Error returns the failure's text.
func (e *EncodingError) Error() string { return e.Failure.Error() }

// NonRetryable marks an error that another attempt would not mend.
type NonRetryable struct{ Err error }

// Error returns the text of the marked error.
func (e *NonRetryable) Error() string { return e.Err.Error() }

// Unwrap returns the marked error.
func (e *NonRetryable) Unwrap() error { return e.Err }
