package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// Option changes how the tasks of a function run, or how a call waits. An option of a call overrides the same option of
// NewFunc. If an option does not apply to the call, or has an invalid value, the call returns an error; NewFunc panics.
type Option struct {
	name  string
	calls callKind // which calls take it
	set   func(*options) error
}

// callKind is a set of the calls that take options.
type callKind uint8

const (
	inNewFunc callKind = 1 << iota
	inSubmit
	inMap
	anyCall = inNewFunc | inSubmit | inMap
)

var callNames = map[callKind]string{inNewFunc: "NewFunc", inSubmit: "Submit", inMap: "Map"}

// options are the settings of one call, or the defaults of a function.
type options struct {
	registry  *Registry
	resources task.Resources
	retries   int
	version   string
	level     task.Level
	timeout   time.Duration
	deadline  time.Duration
	delay     time.Duration
	pending   int
	inOrder   bool
}

// DefaultRetries is how many further attempts a failed task has if no Retries option says otherwise.
const DefaultRetries = 2

// maxRetries is the largest argument of Retries.
const maxRetries = 1000

// apply returns o with the options of a call. It reports all invalid options at once.
func (o options) apply(call callKind, opts []Option) (options, error) {
	var errs []error
	o.resources = slices.Clone(o.resources)
	for _, opt := range opts {
		switch {
		case opt.set == nil:
			errs = append(errs, errors.New("the zero Option is invalid: make options with functions such as Retries"))
		case opt.calls&call == 0:
			errs = append(errs, fmt.Errorf("%s is not an option of %s", opt.name, callNames[call]))
		default:
			if err := opt.set(&o); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", opt.name, err))
			}
		}
	}
	return o, errors.Join(errs...)
}

// template returns what the session needs to know about the call.
func (o options) template(fn string) *session.Template {
	return &session.Template{
		Func: fn, Version: o.version, Resources: o.resources, Level: o.level, Retries: o.retries,
		Timeout: o.timeout, Deadline: o.deadline, Delay: o.delay, Pending: o.pending,
	}
}

func resource(option, name string, n float64) Option {
	return Option{option, anyCall, func(o *options) error {
		r, err := task.NewResources(map[string]float64{name: n})
		if err != nil {
			return err
		}
		o.resources = o.resources.With(r[0])
		return nil
	}}
}

// CPUs sets how many CPUs a task occupies while it runs. n is rounded up to 0.25, 0.5 or a power of two. The default is 1.
// 0 is valid together with another resource. A task that waits for nested tasks gives up its CPUs meanwhile, but no other
// resource.
func CPUs(n float64) Option { return resource("CPUs", task.CPU, n) }

// Memory sets how many bytes of memory a task reserves while it runs, rounded up to a power of two of at least 256 MiB. It
// limits which tasks run at the same time on a node; the memory that a task actually uses is not limited.
func Memory(bytes int64) Option { return resource("Memory", task.Memory, float64(bytes)) }

// Resource sets how much of a named resource a task occupies while it runs, such as a licence or a connection. Nodes get
// resources by Config.Resources or the flag -resources. The smallest unit is a thousandth. Names match [a-z][a-z0-9_]*.
func Resource(name string, amount float64) Option { return resource("Resource", name, amount) }

// Retries sets how many further attempts a task has after its function returned an error or panicked, 0 to 1,000. The
// default is 2. Before each there is a backoff, which grows from 0.1 s to 30 s. An attempt whose agent died does not
// count.
func Retries(n int) Option {
	return Option{"Retries", anyCall, func(o *options) error {
		if n < 0 || n > maxRetries {
			return fmt.Errorf("%d, want 0 to %d", n, maxRetries)
		}
		o.retries = n
		return nil
	}}
}

// The priorities. While tasks of several priorities wait, agents take four times as many of one priority as of the next
// lower one, so that none is starved.
const (
	Low    = task.Low
	Normal = task.Normal
	High   = task.High
)

// Priority sets the priority of a task among the tasks with the same resources: High, Normal (the default) or Low.
func Priority(p task.Level) Option {
	return Option{"Priority", anyCall, func(o *options) error {
		if p != Low && p != Normal && p != High {
			return fmt.Errorf("%q, want Low, Normal or High", p)
		}
		o.level = p
		return nil
	}}
}

func duration(option string, set func(*options, time.Duration)) func(time.Duration) Option {
	return func(d time.Duration) Option {
		return Option{option, anyCall, func(o *options) error {
			if d <= 0 {
				return fmt.Errorf("%s, want more than 0", d)
			}
			set(o, d)
			return nil
		}}
	}
}

// Timeout limits the duration of each attempt. At the timeout, the context of the function is cancelled; if the function
// then returns an error, the attempt has failed with ErrTimeout and counts against Retries. A function that has not
// returned 10 s after the timeout is abandoned: the task continues without it, but the function's resources stay occupied
// until it returns.
func Timeout(d time.Duration) Option {
	return duration("Timeout", func(o *options, d time.Duration) { o.timeout = d })(d)
}

// Deadline limits the time from submit to outcome, over all attempts and all waiting. At the deadline, the task fails with
// ErrTimeout, and the context of a running attempt is cancelled. The submitting session measures the time; each run of a
// named job starts at zero.
func Deadline(d time.Duration) Option {
	return duration("Deadline", func(o *options, d time.Duration) { o.deadline = d })(d)
}

// Delay makes a task runnable only d after its submit. Until then it is only in the memory of the submitting session, and
// Flush does not wait for it.
func Delay(d time.Duration) Option {
	return duration("Delay", func(o *options, d time.Duration) { o.delay = d })(d)
}

// Version sets the version of the function's code, which is part of a task's identity in a named job. Change it when the
// function returns another result for the same input: the next run of the job then runs the task again. Under the same
// version it uses the recorded result, whatever the code does now.
func Version(v string) Option {
	return Option{"Version", inNewFunc, func(o *options) error { o.version = v; return nil }}
}

// Pending limits how many tasks may be pending. For Submit, these are the tasks of the whole session without an outcome:
// Submit waits until there are fewer than n, and their inputs have less than 256 MiB. The default is 1 million; -1 lifts
// both limits, up to inputs of an eighth of the machine's memory. For Map, these are the tasks of this Map that are
// submitted and not yet yielded. Inside a function, Submit does not wait (see Func.Submit).
func Pending(n int) Option {
	return Option{"Pending", anyCall, func(o *options) error {
		if n == 0 || n < -1 {
			return fmt.Errorf("%d, want 1 or more, or -1 for no bound", n)
		}
		o.pending = n
		return nil
	}}
}

// InOrder makes Map and MapKeyed yield in the order of the inputs instead of the order of completion.
func InOrder() Option {
	return Option{"InOrder", inMap, func(o *options) error { o.inOrder = true; return nil }}
}

// In registers the function in the registry r instead of DefaultRegistry.
func In(r *Registry) Option {
	return Option{"In", inNewFunc, func(o *options) error {
		if r == nil {
			return errors.New("the registry is nil")
		}
		o.registry = r
		return nil
	}}
}
