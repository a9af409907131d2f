package registry

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tidemill/tidemill/engine/task"
)

// Function is code that tasks call by name. It is not changed after Add.
type Function struct {
	Name    string
	Version string // part of a task's digest; to be changed when the code returns other results

	// Invoke decodes the input, calls the code and appends its encoded result to dst. It does not change in. An error that is
	// a *task.Failure becomes the failure of the task as it is; any other is an error of the code. It may panic: the caller
	// recovers.
	Invoke func(ctx context.Context, in *task.Value, dst []byte) (task.Value, error)
}

// Registry maps names to functions. It is safe for concurrent use; functions may be added while agents run.
type Registry struct {
	mu      sync.RWMutex
	funcs   map[string]*Function // guarded by mu
	changes uint64               // guarded by mu; counts calls of Add that succeeded
}

// New returns an empty registry.
func New() *Registry { return &Registry{funcs: map[string]*Function{}} }

// Add registers the function. It returns an error if the name is invalid or taken.
func (r *Registry) Add(f *Function) error {
	if err := task.CheckName("function", f.Name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.funcs[f.Name] != nil {
		return fmt.Errorf("registry: function %q is registered twice: give one of them another name", f.Name)
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

// Names returns all names, sorted, and the number of changes so far.
func (r *Registry) Names() (names []string, changes uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name := range r.funcs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, r.changes
}

// EncodingError is returned by Invoke if an input cannot be decoded or a result cannot be encoded. It is no error of the
// function's code, and is not retried.
type EncodingError struct{ Failure *task.Failure }

// Error returns the failure's text.
func (e *EncodingError) Error() string { return e.Failure.Error() }
