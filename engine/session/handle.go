package session

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/queues"
)

// ErrClosed is the outcome, for those who wait, of what had none when its session was closed.
var ErrClosed = errors.New("session closed")

// Handle is a task that was submitted, or a value that was put, seen from its owner. It is safe for
// concurrent use.
type Handle struct {
	s       *Session
	number  uint64 // 0: never became a task
	route   *route
	named   *named     // of a named job; nil elsewhere
	content task.Value // guarded by s.mu; the task's input while it is open, and its value then
	failure error      // may be read once ended is true

	task.Dispatch        // the newest one
	share         int32  // how many tasks that were lost with it may be in one batch
	flushes       uint32 // how often Flush was called before it was submitted
	tag           int32  // of who submitted it
	needed        int32  // guarded by s.mu; open tasks whose inputs refer to it

	ended    atomic.Bool // set last
	stored   bool        // guarded by s.mu; the first dispatch was acknowledged
	hole     bool        // made by Hole
	borrow   bool        // the value may share the record's memory: it is looked at soon, and then forgotten
	released bool        // guarded by s.mu
	unread   bool        // guarded by s.mu; the value stands in the log alone

	done  chan struct{} // guarded by s.mu; made when somebody waits
	first *Completions  // guarded by s.mu; that of the usual one who waits for many
	rare  *rare         // guarded by s.mu; nil for most
	child *Child        // it was submitted by a task; nil if not. It is part of that
}

// named is what the tasks and values of named jobs have beside.
type named struct {
	digest task.Digest
	stands standing // where a former run has recorded the result; zero if none has
}

// digest returns what a named job calls the task or value; zero elsewhere.
func (h *Handle) digest() task.Digest {
	if h.named == nil {
		return task.Digest{}
	}
	return h.named.digest
}

// rare is what few handles have.
type rare struct {
	deps    []*Handle     // to what the task's input refers, by index
	whole   bool          // the input is the value of the first of them
	settled *task.Value   // the input as it is sent, if it took more than putting it together
	doom    *task.Failure // why the task is to fail

	keys    []objstore.Key  // objects of the value that the handle holds
	cleanup runtime.Cleanup // lets go of them
	inner   []*Handle       // of references in the value, by index, once somebody has looked
	lent    []*TaskContext  // tasks that lend their slots until it has ended, once for each goroutine that waits
	polled  []*TaskContext  // and those that have asked for Done

	watchers []*Completions // beside the first
}

// rarely returns rare to be filled. s.mu is held.
func (h *Handle) rarely() *rare {
	if h.rare == nil {
		h.rare = &rare{}
	}
	return h.rare
}

// standing is a place in the owner's log.
type standing struct {
	sequence uint64
	index    int
}

// ErrReleased is what a value is after Release.
var ErrReleased = errors.New("the value was released")

// Hole returns a handle of no session that takes the place of another one in an encoded value: a number. It refers
// to nothing else. There is one for each number.
func Hole(index int) *Handle {
	if h, ok := holes.Load(index); ok {
		return h.(*Handle)
	}
	made := &Handle{tag: int32(index), hole: true, failure: errHole}
	made.ended.Store(true)
	h, _ := holes.LoadOrStore(index, made)
	return h.(*Handle)
}

var (
	holes   sync.Map // of *Handle by index
	errHole = errors.New("a Ref means nothing outside of its program")
)

// Hole returns the number of a handle made by Hole.
func (h *Handle) Hole() (index int, ok bool) {
	if h == nil || !h.hole {
		return 0, false
	}
	return int(h.tag), true
}

// Local returns a handle of no session, with a value whose bytes are at hand, or the failure that stands for one.
func Local(v task.Value) *Handle {
	if v.Type == task.Fault {
		return Failed(failureIn(v))
	}
	h := &Handle{content: v}
	h.ended.Store(true)
	return h
}

// Locals returns Local of each. Few share an allocation, and so does what keeps one of them alive.
func Locals(values []task.Value) []*Handle {
	if len(values) == 0 {
		return nil
	}
	handles := make([]*Handle, 0, len(values))
	shared := make([]Handle, min(len(values), fewLocals))
	for i, v := range values {
		if v.Type == task.Fault || i >= len(shared) {
			handles = append(handles, Local(v))
			continue
		}
		shared[i].content = v
		shared[i].ended.Store(true)
		handles = append(handles, &shared[i])
	}
	return handles
}

const fewLocals = 4

// failureIn returns what a Fault says.
func failureIn(v task.Value) error {
	f, err := task.DecodeFailure(v.Data)
	if err != nil {
		return err
	}
	return f
}

// Value returns the value of a handle made by Local or Failed: a Fault where it has failed.
func (h *Handle) Value() (v task.Value, local bool) {
	if h.s != nil {
		return task.Value{}, false
	}
	if h.failure == nil {
		return h.content, true
	}
	f, failed := errors.AsType[*task.Failure](h.failure)
	if !failed {
		return task.Value{}, false
	}
	return task.Value{Type: task.Fault, Data: task.AppendFailure(nil, f)}, true
}

// Failed returns a handle of no session with a failure as its outcome.
func Failed(failure error) *Handle {
	h := &Handle{failure: failure}
	h.ended.Store(true)
	return h
}

// NotSubmitted returns the failure of a handle made by Failed, nil for any other.
func (h *Handle) NotSubmitted() error {
	if h.s == nil {
		return h.failure
	}
	return nil
}

// Tag returns the Order's tag.
func (h *Handle) Tag() int { return int(h.tag) }

// Ended reports whether the task has its outcome.
func (h *Handle) Ended() bool { return h.ended.Load() }

// Resumed reports whether the outcome was recorded by a former run of the named job.
func (h *Handle) Resumed() bool { return h.named != nil && h.named.stands.sequence != 0 }

// Outcome sets v to the value, or returns the failure, once Ended. What a former run has recorded is read from the log when
// it is first asked for, and large values from the store each time, for which ctx is. The value's bytes must not
// be changed.
func (h *Handle) Outcome(ctx context.Context, v *task.Value) (err error) {
	if err := h.known(ctx, v); err != nil || h.s == nil || v.External == nil && v.Type != task.Bundle {
		return err
	}
	*v, err = insist(ctx, func() (task.Value, error) { return h.s.values.Read(ctx, *v) })
	runtime.KeepAlive(h) // it holds the objects
	return err
}

// insist reads what is kept for sure: until there is an answer, however long its server is away, or ctx ends.
func insist[T any](ctx context.Context, read func() (T, error)) (T, error) {
	for {
		v, err := read()
		if err == nil || !queues.Unanswered(err) || ctx.Err() != nil {
			return v, err
		}
	}
}

// Size returns how many bytes the value has, once Ended, with all it refers to, without moving them.
func (h *Handle) Size(ctx context.Context) (int64, error) {
	var v task.Value
	err := h.known(ctx, &v)
	return v.Size(), err
}

// Inner returns the handle of a reference in the value, by its index: the same one each time. v is as Outcome
// has set it.
func (h *Handle) Inner(v *task.Value, index int) *Handle {
	ref := v.Refs()[index]
	if h.s == nil || ref.Type == task.Fault { // a failure holds nothing
		return Local(ref)
	}
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	r := h.rarely()
	if r.inner == nil {
		r.inner = make([]*Handle, len(v.Refs()))
	}
	if r.inner[index] == nil {
		inner := &Handle{s: s, content: withoutData(ref)}
		if s.job != nil {
			inner.named = &named{digest: innerDigest(h.digest(), index)}
		}
		inner.ended.Store(true)
		s.hold(inner)
		r.inner[index] = inner
	}
	return r.inner[index]
}

// withoutData returns the value without the bytes that are in the store.
func withoutData(v task.Value) task.Value {
	if v.External == nil {
		return v
	}
	if v.Object() != nil {
		v.Data = nil
	}
	v.External = v.External.Copy()
	for i, ref := range v.External.Refs {
		v.External.Refs[i] = withoutData(ref)
	}
	return v
}

// known is as Outcome, without bytes that are in the store.
func (h *Handle) known(ctx context.Context, v *task.Value) error {
	switch {
	case h.failure != nil:
		return h.failure
	case h.s == nil, h.borrow && !h.unread: // of nobody but who asks
		v.Set(&h.content)
		return nil
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.Resumed() && h.unread {
		log, at := h.s.me.log, h.named.stands
		h.s.mu.Unlock()
		read, err := h.s.job.values.value(ctx, log, at, h.named.digest)
		h.s.mu.Lock()
		if err != nil {
			return err
		}
		h.content, h.unread = read, false
	}
	if h.released {
		return ErrReleased
	}
	v.Set(&h.content)
	return nil
}

// Release forgets the value, now or when it comes; a failure stays. The task itself goes on, and so do tasks
// whose inputs refer to the value.
func (h *Handle) Release() {
	if h.s == nil {
		return
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.released = true
	h.forget()
}

// forget gives the value up if it was released and no task needs it. s.mu is held.
func (h *Handle) forget() {
	if h.released && h.needed == 0 && h.ended.Load() {
		h.s.let(h)
		h.content = task.Value{}
	}
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done returns a channel that is closed when the task has its outcome.
func (h *Handle) Done() <-chan struct{} {
	if h.ended.Load() {
		return closedChannel
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	return h.doneChannel()
}

// doneChannel is Done. s.mu is held.
func (h *Handle) doneChannel() <-chan struct{} {
	if h.ended.Load() {
		return closedChannel
	}
	if h.done == nil {
		h.done = make(chan struct{})
	}
	return h.done
}

// DoneIn is as Done. A task under whose context it is called lends its slot until the channel is closed.
func (h *Handle) DoneIn(ctx context.Context) <-chan struct{} {
	r := TaskIn(ctx)
	if r == nil || r.Host == nil || h.s == nil {
		return h.Done()
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if !h.ended.Load() && !slices.Contains(h.rarely().polled, r) { // asked again and again, it lends once
		h.rare.polled = append(h.rare.polled, r)
		r.lend()
	}
	return h.doneChannel()
}

// Wait returns when the task has its outcome, or with the context's error. Inside a task it lends the slot, or runs
// the other task itself.
func (h *Handle) Wait(ctx context.Context) error {
	if h.ended.Load() {
		return nil
	}
	if r := TaskIn(ctx); r != nil && r.Host != nil {
		return r.await(ctx, h)
	}
	select {
	case <-h.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end sets the outcome and tells who waits. s.mu is held. It touches the handle last when it tells a
// collection: whoever takes it from there may use it again.
func (h *Handle) end(v task.Value, failure error) {
	first := h.first
	h.first = nil
	if h.released && h.needed == 0 {
		v = task.Value{}
	}
	h.content.Set(&v)
	h.failure = failure
	h.ended.Store(true)
	if h.done != nil {
		close(h.done)
	}
	if h.rare != nil {
		for _, r := range h.rare.lent {
			r.resume()
		}
		for _, r := range h.rare.polled {
			r.resume()
		}
		h.rare.lent, h.rare.polled = nil, nil
		for _, c := range h.rare.watchers {
			c.add(h)
		}
		h.rare.watchers = nil
	}
	if first != nil {
		h.s.tellOf(first, h)
	}
}

// endStanding ends a handle whose result a former run has recorded. s.mu is held.
func (h *Handle) endStanding() {
	h.unread = true
	h.end(task.Value{}, nil)
}
