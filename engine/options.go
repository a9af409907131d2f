package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// Option changes how a function's tasks run, or how a call waits. Options of NewFunc are defaults, and
// those of a call win. An option that has no meaning where it stands is an error there.
type Option struct {
	name  string
	where place
	apply func(*options) error
}

// place says where an option may stand.
type place uint8

const (
	atFunc place = 1 << iota
	atSubmit
	atMap
)

var places = map[place]string{atFunc: "NewFunc", atSubmit: "Submit", atMap: "Map"}

// options are what all options together say.
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

// DefaultRetries is how many further attempts an error costs where Retries says nothing else.
const DefaultRetries = 2

// maxRetries bounds what Retries takes.
const maxRetries = 1000

func (o options) with(at place, opts []Option) (options, error) {
	var errs []error
	o.resources = slices.Clone(o.resources)
	for _, opt := range opts {
		switch {
		case opt.apply == nil:
			errs = append(errs, errors.New("the zero Option"))
		case opt.where&at == 0:
			errs = append(errs, fmt.Errorf("%s has no meaning for %s", opt.name, places[at]))
		default:
			if err := opt.apply(&o); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", opt.name, err))
			}
		}
	}
	return o, errors.Join(errs...)
}

// template makes what a session wants to know of a call.
func (o options) template(fn string) *session.Template {
	return &session.Template{
		Func: fn, Version: o.version, Resources: o.resources, Level: o.level, Retries: o.retries,
		Timeout: o.timeout, Deadline: o.deadline, Delay: o.delay, Pending: o.pending,
	}
}

func resource(option, name string, n float64) Option {
	return Option{option, atFunc | atSubmit | atMap, func(o *options) error {
		r, err := task.NewResources(map[string]float64{name: n})
		if err != nil {
			return err
		}
		o.resources = o.resources.With(r[0])
		return nil
	}}
}

// CPUs says how many CPUs a task takes while it runs: 0.25, 0.5 or a power of two, and what is between
// is rounded up. The default is 1. 0 is allowed beside another resource.
func CPUs(n float64) Option { return resource("CPUs", task.CPU, n) }

// Memory says how many bytes of memory a task takes while it runs: rounded up to a power of two from
// 256 MiB. It is an account, not a limit that the system enforces.
func Memory(bytes int64) Option { return resource("Memory", task.Memory, float64(bytes)) }

// Resource says how much a task takes of a resource that nodes were given by name, such as a licence or
// a connection: thousandths are the least. Names are [a-z][a-z0-9_]*.
func Resource(name string, amount float64) Option { return resource("Resource", name, amount) }

// Retries says how many further attempts a task has after its function returned an error or panicked, 0
// to 1,000. The default is 2. Attempts are apart by a growing backoff, from 0.1 s to 30 s.
func Retries(n int) Option {
	return Option{"Retries", atFunc | atSubmit | atMap, func(o *options) error {
		if n < 0 || n > maxRetries {
			return fmt.Errorf("%d, want 0 to %d", n, maxRetries)
		}
		o.retries = n
		return nil
	}}
}

// The priorities. Where tasks of several wait, agents take most of the higher ones: four times as many of
// one as of the next lower, so that none is starved.
const (
	Low    = task.Low
	Normal = task.Normal
	High   = task.High
)

// Priority says which tasks of a class are taken first: High, Normal (the default) or Low.
func Priority(p task.Level) Option {
	return Option{"Priority", atFunc | atSubmit | atMap, func(o *options) error {
		if p != Low && p != Normal && p != High {
			return fmt.Errorf("%q, want Low, Normal or High", p)
		}
		o.level = p
		return nil
	}}
}

func duration(option string, set func(*options, time.Duration)) func(time.Duration) Option {
	return func(d time.Duration) Option {
		return Option{option, atFunc | atSubmit | atMap, func(o *options) error {
			if d <= 0 {
				return fmt.Errorf("%s, want more than 0", d)
			}
			set(o, d)
			return nil
		}}
	}
}

// Timeout bounds one attempt: its context ends then, and if it returns an error after that, the attempt
// has failed with ErrTimeout, which costs one of the Retries. Code that ignores its context is abandoned
// after a grace of 10 s: the task goes on without it, but its slot is lost until it returns.
func Timeout(d time.Duration) Option {
	return duration("Timeout", func(o *options, d time.Duration) { o.timeout = d })(d)
}

// Deadline bounds the time from submit to outcome, over all attempts and all waiting: the task fails with
// ErrTimeout then, and what runs of it has its context cancelled. It is counted by the submitting
// session, anew in each run of a named job.
func Deadline(d time.Duration) Option {
	return duration("Deadline", func(o *options, d time.Duration) { o.deadline = d })(d)
}

// Delay keeps a task back for so long after its submit. Meanwhile it is in the memory of the submitting
// session, and not yet runnable: Flush does not wait for it.
func Delay(d time.Duration) Option {
	return duration("Delay", func(o *options, d time.Duration) { o.delay = d })(d)
}

// Version is part of a task's identity: change it when the code's answer changes. A named job runs a task
// of another version anew; under the same version it takes the recorded result, whatever the code does
// now.
func Version(v string) Option {
	return Option{"Version", atFunc, func(o *options) error { o.version = v; return nil }}
}

// Pending bounds how many tasks may be open: for Submit, of the whole session (default 1 million, or
// 256 MiB of inputs; -1 lifts both); for Map, of this Map, submitted and not yet yielded. A task that submits does not
// wait: beyond the bound, what its agent may run is run at once.
func Pending(n int) Option {
	return Option{"Pending", atFunc | atSubmit | atMap, func(o *options) error {
		if n == 0 || n < -1 {
			return fmt.Errorf("%d, want 1 or more, or -1 for no bound", n)
		}
		o.pending = n
		return nil
	}}
}

// InOrder makes Map yield in the order of the inputs instead of the order of completion.
func InOrder() Option {
	return Option{"InOrder", atMap, func(o *options) error { o.inOrder = true; return nil }}
}

// In registers the function in this registry instead of the program's default one.
func In(r *Registry) Option {
	return Option{"In", atFunc, func(o *options) error {
		if r == nil {
			return errors.New("nil registry")
		}
		o.registry = r
		return nil
	}}
}
