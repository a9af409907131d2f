package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// None is the input of a function that wants none, or the result of one that has none.
type None = struct{}

// Registry keeps functions by name. Programs have a default one; tests may want their own.
type Registry = registry.Registry

// NewRegistry returns an empty registry, for In and for tidemill.Config.
func NewRegistry() *Registry { return registry.New() }

var defaultRegistry = NewRegistry()

// DefaultRegistry returns the registry of functions made without In.
func DefaultRegistry() *Registry { return defaultRegistry }

// Func is a function under a name, from I to O. It is safe for concurrent use.
type Func[I, O any] struct {
	name     string
	opts     options
	template *session.Template // of calls without options of their own
	in       codec[I]
	out      codec[O]
}

// NewFunc registers fn under the name, one token of [a-z0-9_-]{1,64}, and returns what calls it. The
// usual place is a package variable, so that drivers and agents of one program have the same functions.
//
// It panics if the name is taken or is none, on an option without a meaning, and on types that would
// lose data on their way (unexported or interface fields, channels, functions), naming the field's
// path.
func NewFunc[I, O any](name string, fn func(context.Context, I) (O, error), opts ...Option) *Func[I, O] {
	f := &Func[I, O]{name: name, in: codecFor[I](), out: codecFor[O]()}
	var err error
	f.opts, err = options{registry: defaultRegistry, retries: DefaultRetries}.with(atFunc, opts)
	err = errors.Join(err, checkType[I]("input"), checkType[O]("result"))
	if err == nil && fn == nil {
		err = errors.New("nil function")
	}
	if err == nil {
		f.template = f.opts.template(name)
		err = f.opts.registry.Add(&registry.Function{Name: name, Version: f.opts.version, Invoke: f.invoker(fn)})
	}
	if err != nil {
		panic(fmt.Sprintf("engine: NewFunc(%q): %v", name, err))
	}
	return f
}

// Name returns the name.
func (f *Func[I, O]) Name() string { return f.name }

// invoker returns fn from bytes to bytes.
func (f *Func[I, O]) invoker(fn func(context.Context, I) (O, error)) func(context.Context, *task.Value, []byte) (task.Value, error) {
	return func(ctx context.Context, v *task.Value, dst []byte) (task.Value, error) {
		in, err := f.in.decode(v, inside{refs: localRefs(v)})
		if err != nil {
			return task.Value{}, &registry.EncodingError{Failure: &task.Failure{Kind: task.KindInput, Message: "decode the input: " + err.Error()}}
		}
		out, err := fn(ctx, in)
		if err != nil {
			return task.Value{}, err
		}
		result := task.Value{Data: dst}
		handles, err := f.out.encode(&result, out)
		if err == nil && len(handles) > 0 {
			err = referTo(ctx, &result, handles)
		}
		if err != nil {
			return task.Value{}, &registry.EncodingError{Failure: &task.Failure{Kind: task.KindOutput, Message: fmt.Sprintf("encode the result %T: %v", out, err)}}
		}
		return result, nil
	}
}

// localRefs returns what references in an input stand for inside of its task: their values came with it.
func localRefs(v *task.Value) []*session.Handle {
	if v.External == nil { // as usual: Locals has so large a frame that a slot's stack would grow for it
		return nil
	}
	return session.Locals(v.External.Refs)
}

// referTo adds what a result refers to: what came with the task's input, is a part of the result, or is of the
// task's own making. The last may not be over; the agent waits for it before it records the result.
func referTo(ctx context.Context, v *task.Value, handles []*session.Handle) error {
	running := session.TaskIn(ctx)
	v.External = &task.External{Refs: make([]task.Value, len(handles))}
	var made []*session.Handle
	for i, h := range handles {
		if ref, local := h.Value(); local {
			v.External.Refs[i] = ref
			continue
		}
		if err := h.NotSubmitted(); err != nil {
			return err
		}
		if running == nil || !running.MayReferTo(h) {
			return errForeignRef
		}
		if made == nil {
			made = make([]*session.Handle, len(handles))
		}
		made[i] = h
	}
	if made != nil {
		running.SetResultRefs(made)
	}
	return nil
}

var errForeignRef = errors.New("it has a Ref that neither came with the task's input nor is of a task or value that the task made")

var errNilFunc = errors.New("nil *Func: a function that submits itself is assigned in init, not in its var declaration")

// Submit makes a task of a call and returns a reference to its result at once. The input is encoded
// before Submit returns, so the caller may change it afterwards. Submit waits only while a bound on open
// tasks is reached (see Pending). A failure to submit is in the Ref: an unknown function, a shape that no
// node has, an input that cannot be encoded or is too large.
//
// ctx governs the submitting, not the task: it carries the session, and bounds the waiting
// (ErrPendingFull).
//
// Inside a function, with its context, Submit makes a child of the task that runs: a nested task. It never waits there.
// When the task ends, its children are cancelled, but for those to which its result refers; afterwards, Submit
// fails with ErrTaskOver. A task that runs again, since its agent was lost or it failed, makes its children again.
func (f *Func[I, O]) Submit(ctx context.Context, in I, opts ...Option) Ref[O] {
	if f == nil {
		return failed[O](wrap("submit", errNilFunc))
	}
	s, template, err := f.call(ctx, atSubmit, opts)
	if err != nil {
		return failed[O](wrap("submit "+f.name, err))
	}
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	order := session.Order{Template: template}
	if order.Deps, err = f.in.toSubmit(&order.Input, scratch, in); err != nil {
		return failed[O](f.badInput(in, err))
	}
	return Ref[O]{h: s.Submit(ctx, &order, nil)}
}

// SubmitRef is Submit with an input that exists or will: the task is dispatched when it does. If it fails, so does
// the task, with its failure as the cause.
func (f *Func[I, O]) SubmitRef(ctx context.Context, in Ref[I], opts ...Option) Ref[O] {
	if f == nil {
		return failed[O](wrap("submit", errNilFunc))
	}
	s, template, err := f.call(ctx, atSubmit, opts)
	if err == nil && in.h == nil {
		err = errZeroRef
	}
	if err != nil {
		return failed[O](wrap("submit "+f.name, err))
	}
	return Ref[O]{h: s.Submit(ctx, &session.Order{Template: template, Deps: []*session.Handle{in.h}, Whole: true}, nil)}
}

// call returns the session to submit to and the template of the call.
func (f *Func[I, O]) call(ctx context.Context, at place, opts []Option) (*session.Session, *session.Template, error) {
	s, err := session.From(ctx)
	if err != nil || len(opts) == 0 {
		return s, f.template, err
	}
	o, err := f.opts.with(at, opts)
	return s, o.template(f.name), err
}

func (f *Func[I, O]) badInput(in I, err error) error {
	return &task.Failure{Kind: task.KindInput, Func: f.name, Message: fmt.Sprintf("encode the input %T: %v", in, err)}
}

// scratches are buffers in which inputs are encoded; sessions copy from them.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

// Flush returns when all tasks submitted before are stored: what Flush has returned for survives what
// the cluster's storage survives.
func Flush(ctx context.Context) error {
	s, err := session.From(ctx)
	if err == nil {
		err = s.Flush(ctx)
	}
	if err != nil {
		return wrap("flush", err)
	}
	return nil
}
