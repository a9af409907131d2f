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

// None is the input type of a function without input, and the result type of one without result.
type None = struct{}

// Registry maps names to functions. A program usually uses DefaultRegistry; a test can have its own.
type Registry = registry.Registry

// NewRegistry returns an empty registry, for In and for Config.Registry of package tidemill.
func NewRegistry() *Registry { return registry.New() }

var defaultRegistry = NewRegistry()

// DefaultRegistry returns the registry that NewFunc uses without the option In.
func DefaultRegistry() *Registry { return defaultRegistry }

// Func is a registered function with input type I and result type O. It is safe for concurrent use.
type Func[I, O any] struct {
	name     string
	opts     options
	template *session.Template // for calls without options
	in       codec[I]
	out      codec[O]
}

// NewFunc registers fn under the name, which must match [a-z0-9_-]{1,64}, and returns a Func to submit tasks with. Call it
// in the initialiser of a package variable, so that drivers and agents of a program have the same functions. The options
// are the defaults of all calls.
//
// NewFunc panics if the name is invalid or registered already, if fn is nil, if an option is invalid, and if values of
// I or O would lose data when they are encoded (unexported or interface fields, channels, functions, fields with a json:"-" tag
// and without a cbor tag, embedded types whose methods would encode the whole struct); the message has the path of the field. A
// value that would lose data though its type does not, such as a pointer to a zero time or a cycle, is refused by Submit.
func NewFunc[I, O any](name string, fn func(context.Context, I) (O, error), opts ...Option) *Func[I, O] {
	f := &Func[I, O]{name: name, in: codecOf[I](), out: codecOf[O]()}
	var err error
	f.opts, err = options{registry: defaultRegistry, retries: DefaultRetries}.apply(inNewFunc, opts)
	err = errors.Join(err, checkType[I]("input"), checkType[O]("result"))
	if err == nil && fn == nil {
		err = errors.New("the function is nil")
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

// Name returns the name under which the function is registered.
func (f *Func[I, O]) Name() string { return f.name }

// invoker returns fn with its input decoded and its result encoded. The result may be appended to the buffer that the
// agent passes.
func (f *Func[I, O]) invoker(fn func(context.Context, I) (O, error)) func(context.Context, *task.Value, []byte) (task.Value, error) {
	return func(ctx context.Context, v *task.Value, dst []byte) (task.Value, error) {
		in, err := f.in.decode(v, refSource{refs: localRefs(v)})
		if err != nil {
			return task.Value{}, &registry.EncodingError{Failure: &task.Failure{
				Kind: task.KindInput, Message: undecodable("input", f.name, f.opts.version, err),
			}}
		}
		out, err := fn(ctx, in)
		if err != nil {
			return task.Value{}, err
		}
		result := task.Value{Data: dst}
		handles, err := f.out.encode(&result, out)
		if err == nil && len(handles) > 0 {
			err = addRefs(ctx, &result, handles)
		}
		if err != nil {
			return task.Value{}, &registry.EncodingError{Failure: &task.Failure{
				Kind: kindOf(err, task.KindOutput), Message: fmt.Sprintf("encode the result %T: %v", out, err),
			}}
		}
		return result, nil
	}
}

// localRefs returns handles of the references in the input of a task. Their values came with the input.
func localRefs(v *task.Value) []*session.Handle {
	if v.External == nil { // the common case; calling Locals would grow the goroutine's stack, since its frame is large
		return nil
	}
	return session.Locals(v.External.Refs)
}

// addRefs adds the references in a result to its encoded value. A Ref in a result may come from the task's input, or be
// of a task or value that the task has made; Arrow data is a reference too. The agent records the result when the child
// tasks that it refers to have ended.
func addRefs(ctx context.Context, v *task.Value, handles []*session.Handle) error {
	tc := session.TaskIn(ctx)
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
		if tc == nil || !tc.MayReferTo(h) {
			return errForeignRef
		}
		if made == nil {
			made = make([]*session.Handle, len(handles))
		}
		made[i] = h
	}
	if made != nil {
		tc.SetResultRefs(made)
	}
	return nil
}

var errForeignRef = errors.New("it contains a Ref that neither came with the task's input nor belongs to a task or value that this task submitted or put")

var errNilFunc = errors.New("the *Func is nil: assign a function that submits itself in init, not in its var declaration")

// Submit submits a task that calls the function with the input, and returns a reference to its result. It does not wait
// for the task; it waits only while the session has too many pending tasks (see Pending). The input is encoded before
// Submit returns, so the caller may change it afterwards.
//
// Submit reports a failure through the Ref: Get returns ErrUnknownFunc, ErrInfeasible if no node has the resources, or a
// *task.Failure if the input cannot be encoded or is too large.
//
// ctx carries the session. If it ends while Submit waits, Get returns ErrPendingFull. It does not limit the task.
//
// With the context of a running function, Submit makes the task a child of the running task (a nested task). It does not
// wait there: beyond the bound, it runs the child at once on the calling goroutine, if this node can run it; a child for
// other nodes fails with ErrPendingFull if the inputs of all open tasks exceed their memory. When the parent ends, its children are cancelled, except those to which its result refers; from then on, Submit with its
// context fails with ErrTaskOver. When an attempt failed or its agent died, the next attempt submits its children anew.
func (f *Func[I, O]) Submit(ctx context.Context, in I, opts ...Option) Ref[O] {
	if f == nil {
		return failed[O](wrap("submit", errNilFunc))
	}
	s, template, err := f.prepare(ctx, opts)
	if err != nil {
		return failed[O](wrap("submit "+f.name, err))
	}
	scratch := scratchBuffers.Get().(*[]byte)
	defer scratchBuffers.Put(scratch)
	order := session.Order{Template: template}
	if order.Deps, err = f.in.encodeInput(&order.Input, scratch, in); err != nil {
		return failed[O](f.badInput(in, err))
	}
	return Ref[O]{h: s.Submit(ctx, &order, nil)}
}

// SubmitRef is Submit with the value of a Ref as the input. The task is dispatched when the value exists. If the task
// behind the Ref fails, this one fails too, with that failure among its causes.
func (f *Func[I, O]) SubmitRef(ctx context.Context, in Ref[I], opts ...Option) Ref[O] {
	if f == nil {
		return failed[O](wrap("submit", errNilFunc))
	}
	s, template, err := f.prepare(ctx, opts)
	if err == nil && in.h == nil {
		err = errZeroRef
	}
	if err != nil {
		return failed[O](wrap("submit "+f.name, err))
	}
	return Ref[O]{h: s.Submit(ctx, &session.Order{Template: template, Deps: []*session.Handle{in.h}, Whole: true}, nil)}
}

// prepare returns the session of ctx and the template for a Submit with these options.
func (f *Func[I, O]) prepare(ctx context.Context, opts []Option) (*session.Session, *session.Template, error) {
	s, err := session.From(ctx)
	if err != nil || len(opts) == 0 {
		return s, f.template, err
	}
	o, err := f.opts.apply(inSubmit, opts)
	return s, o.template(f.name), err
}

func (f *Func[I, O]) badInput(in I, err error) error {
	return &task.Failure{Kind: kindOf(err, task.KindInput), Func: f.name, Message: fmt.Sprintf("encode the input %T: %v", in, err)}
}

// kindOf returns the kind of the failure of a value that cannot be encoded: too large, or else this kind.
func kindOf(err error, kind task.Kind) task.Kind {
	if errors.Is(err, task.ErrTooLarge) {
		return task.KindTooLarge
	}
	return kind
}

// scratchBuffers are buffers for encoding inputs. The session copies an input before its buffer is used again.
var scratchBuffers = sync.Pool{New: func() any { return new([]byte) }}

// Flush returns when all runnable tasks that were submitted before the call are stored in their streams. They then survive
// what the storage of the cluster survives (Config.Dir and Config.Sync of package tidemill). Flush does not wait for
// tasks that are not yet runnable (Delay, inputs that do not exist yet), or for nested tasks that their own node runs. If
// ctx ends first, Flush returns its error; the tasks are stored all the same.
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
