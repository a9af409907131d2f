package session

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/queues"
)

// ErrClosed is the outcome, for those who wait, of what had none when its session was closed.
var ErrClosed = errors.New("session closed")

// ErrReleased is what a value is after Release.
var ErrReleased = errors.New("the value was released")

// Handle is a value that exists or will: the result of a task that was submitted, a value that was put, or a literal,
// which belongs to no session (literal.go). It is safe for concurrent use.
//
// Its parts are structs by value, since a million handles may be open: together they have 160 bytes.
type Handle struct {
	s       *Session // nil: a literal
	outcome          // next to s: a look at many handles reads one cache line of each
	submission
	delivery
	watchers
}

// submission is what the owner knows of the task. Session.mu guards it while the task is open; what of it is fixed may be
// read at any time.
type submission struct {
	number     uint64        // fixed; 0: never became a task
	route      *route        // fixed
	named      *named        // fixed; nil but in a named job
	child      *Child        // fixed; nil if no task has submitted it. The handle is a part of it
	dispatch   task.Dispatch // the newest one. Invariant: as in the graph
	share      int32         // how many tasks that were lost with it may be in one batch
	flushCalls uint32        // how often Flush was called before it was submitted
	needed     int32         // open tasks whose inputs refer to it
	timers     uint16        // how many are set
	stored     bool          // its first dispatch is acknowledged
	given      bool          // the newest dispatch went to an agent, or into a batch, and was not refused: it may have begun
}

// delivery is how whoever has submitted the task takes its outcome. It is fixed, but for first.
type delivery struct {
	first  *Completions // guarded by Session.mu; receives the handle when the task has its outcome
	tag    int32        // of whoever submitted it; of a hole, its index
	borrow bool         // the value is looked at soon and then forgotten: it may share the record's memory
	hole   bool         // made by Hole
}

// outcome is the value, or why there is none.
type outcome struct {
	failure  error       // may be read once ended is true
	ended    atomic.Bool // set last
	released bool        // guarded by Session.mu; nobody wants the value
	inLog    bool        // guarded by Session.mu; a former run has recorded the value, and it was not read yet
	content  task.Value  // guarded by Session.mu: the task's input while it is open, and its value then
}

// watchers are those who wait for the outcome, beside delivery.first. Session.mu guards them.
type watchers struct {
	done  chan struct{} // made when somebody waits
	extra *extra        // nil for most
}

// extra is what few handles have. Session.mu guards it.
type extra struct {
	deps     []*Handle       // to what the task's input refers, by index
	whole    bool            // the input is the value of the first of them
	loaded   *task.Value     // the input as it is sent, if putting it together took I/O
	doomed   *task.Failure   // why the task is to fail
	keys     []objstore.Key  // objects of the value, which the handle holds
	cleanup  runtime.Cleanup // releases keys when the handle is garbage
	refs     []*Handle       // of references in the value, by index, once somebody has looked
	yielded  []*TaskContext  // tasks that yield their slots until it has ended, once for each goroutine that waits
	polling  []*TaskContext  // and those that have asked for Done
	watching []*Completions  // beside first
}

// named is what tasks and values of named jobs have beside.
type named struct {
	digest     task.Digest
	recordedAt logPosition // where a former run has recorded the result; zero if none has
}

// logPosition is a place in the owner's log.
type logPosition struct {
	sequence uint64
	index    int
}

// lostSequence is where a result stands that was in a part of the log which a rollback has removed.
const lostSequence = ^uint64(0)

// digest returns what a named job calls the task or value; zero elsewhere.
func (h *Handle) digest() task.Digest {
	if h.named == nil {
		return task.Digest{}
	}
	return h.named.digest
}

// extras returns extra to be filled. Session.mu is held.
func (w *watchers) extras() *extra {
	if w.extra == nil {
		w.extra = &extra{}
	}
	return w.extra
}

// localChild returns the child if this agent runs the task itself; nil if the task was published, or no task has
// submitted it. Session.mu is held.
func (h *submission) localChild() *Child {
	if h.child != nil && h.child.local {
		return h.child
	}
	return nil
}

// inputBytes is how much the open task counts against the bound on inputs. Session.mu is held.
func (h *Handle) inputBytes() int { return len(h.content.Data) + task.SpecBytes }

// Func returns the name and the version of the function whose result this is, "" if the value was put or imported.
func (h *Handle) Func() (name, version string) {
	if h.route == nil {
		return "", ""
	}
	return h.route.template.Func, h.route.template.Version
}

// Tag returns the Order's tag.
func (h *Handle) Tag() int { return int(h.tag) }

// Task returns the function of the task whose result the handle is, and the task's ID: zero if it was put, or did not run
// in this run of the job.
func (h *Handle) Task() (fn string, id task.ID) {
	if h.s == nil || h.route == nil {
		return "", id
	}
	if h.number > 0 {
		id = task.ID{Owner: h.s.reader.identity().owner, Number: h.number}
	}
	return h.route.call.Func, id
}

// Ended reports whether there is an outcome.
func (h *Handle) Ended() bool { return h.ended.Load() }

// Resumed reports whether the outcome was recorded by a former run of the named job.
func (h *Handle) Resumed() bool {
	if h.named == nil {
		return false
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	return h.resumedLocked()
}

// resumedLocked is Resumed. Session.mu is held: a rollback of the log may change where the result stands.
func (h *Handle) resumedLocked() bool { return h.named != nil && h.named.recordedAt.sequence != 0 }

// Outcome sets v to the value, or returns the failure, once Ended. What a former run has recorded is read from the log
// when it is first asked for, and large values from the store each time; ctx bounds that. The value's bytes must not be
// changed.
func (h *Handle) Outcome(ctx context.Context, v *task.Value) (err error) {
	if err := h.known(ctx, v); err != nil || h.s == nil || v.External == nil && v.Type != task.Bundle {
		return err
	}
	err = h.s.whileOpen(ctx, func(ctx context.Context) error {
		*v, err = untilAnswered(ctx, func() (task.Value, error) { return h.s.objects.store.Read(ctx, *v) })
		return err
	})
	runtime.KeepAlive(h) // it holds the objects
	return err
}

// untilAnswered reads what is known to be kept, again and again until its server answers or ctx ends.
func untilAnswered[T any](ctx context.Context, read func() (T, error)) (T, error) {
	for {
		v, err := read()
		if err == nil || !queues.Unanswered(err) || ctx.Err() != nil {
			return v, err
		}
	}
}

// Size returns how many bytes the value has, once Ended, with all it refers to. It moves none of them.
func (h *Handle) Size(ctx context.Context) (int64, error) {
	var v task.Value
	err := h.known(ctx, &v)
	return v.Size(), err
}

// known is as Outcome, without bytes that are in the store.
func (h *Handle) known(ctx context.Context, v *task.Value) error {
	switch {
	case h.failure != nil:
		return h.failure
	case h.s == nil, h.borrow && !h.inLog: // only whoever asks has it
		v.Set(&h.content)
		return nil
	}
	if h.named != nil {
		if err := h.readRecorded(ctx); err != nil {
			return err
		}
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.released {
		return ErrReleased
	}
	v.Set(&h.content)
	return nil
}

// readRecorded reads the value from the log if a former run has recorded it and nobody has read it yet.
func (h *Handle) readRecorded(ctx context.Context) error {
	h.s.mu.Lock()
	if !h.inLog || !h.resumedLocked() {
		h.s.mu.Unlock()
		return nil
	}
	at, digest := h.named.recordedAt, h.named.digest
	h.s.mu.Unlock()
	var v task.Value
	err := h.s.whileOpen(ctx, func(ctx context.Context) (err error) {
		v, err = h.s.reader.value(ctx, at, digest)
		return err
	})
	if err != nil {
		return err
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.content, h.inLog = v, false
	return nil
}

// Ref returns the handle of a reference in the value, by its index: the same one each time. v is as Outcome has set it.
func (h *Handle) Ref(v *task.Value, index int) *Handle {
	ref := v.Refs()[index]
	if h.s == nil || ref.Type == task.Fault { // a failure holds nothing
		return Local(ref)
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	x := h.extras()
	if x.refs == nil {
		x.refs = make([]*Handle, len(v.Refs()))
	}
	if x.refs[index] == nil {
		inner := h.s.newValueLocked(withoutData(ref))
		if h.named != nil {
			inner.named = &named{digest: refDigest(h.named.digest, index)}
		}
		x.refs[index] = inner
	}
	return x.refs[index]
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

// Release forgets the value, now or when it comes; a failure stays. The task itself goes on, and so do tasks whose inputs
// refer to the value.
func (h *Handle) Release() {
	if h.s == nil {
		return
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.released = true
	h.forgetLocked()
}

// forgetLocked drops the value if it was released and no task needs it. Session.mu is held.
func (h *Handle) forgetLocked() {
	if h.released && h.needed == 0 && h.ended.Load() {
		h.releaseObjects()
		h.content = task.Value{}
	}
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Done returns a channel that is closed when there is an outcome.
func (h *Handle) Done() <-chan struct{} {
	if h.ended.Load() {
		return closedChannel
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	return h.doneLocked()
}

// doneLocked is Done. Session.mu is held.
func (h *Handle) doneLocked() <-chan struct{} {
	if h.ended.Load() {
		return closedChannel
	}
	if h.done == nil {
		h.done = make(chan struct{})
	}
	return h.done
}

// DoneIn is as Done. A task under whose context it is called yields its slot until the channel is closed.
func (h *Handle) DoneIn(ctx context.Context) <-chan struct{} {
	t := TaskIn(ctx)
	if t == nil || t.Host == nil || h.s == nil || h.ended.Load() {
		return h.Done()
	}
	h.s.mu.Lock()
	yields := !h.ended.Load() && !slices.Contains(h.extras().polling, t) // asked again and again, it yields once
	if yields {
		h.extra.polling = append(h.extra.polling, t)
	}
	done := h.doneLocked()
	h.s.mu.Unlock()
	if yields {
		t.slot.yield(t)
	}
	return done
}

// Wait returns when there is an outcome, or with the context's error. Inside a task it yields the slot, or runs the other
// task itself.
func (h *Handle) Wait(ctx context.Context) error {
	if h.ended.Load() {
		return nil
	}
	if t := TaskIn(ctx); t != nil && t.Host != nil {
		return t.await(ctx, h)
	}
	select {
	case <-h.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// yieldUntilDone notes that a goroutine of the task waits for the outcome: whoever brings that takes the slot back, at
// once, so that what can go on is not kept waiting by what could begin. yields is false if there is an outcome already.
func (h *Handle) yieldUntilDone(t *TaskContext) (done <-chan struct{}, yields bool) {
	if h.s == nil {
		return closedChannel, false
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if yields = !h.ended.Load(); yields {
		x := h.extras()
		x.yielded = append(x.yielded, t)
	}
	return h.doneLocked(), yields
}

// stopYielding takes the slot back before there is an outcome, since the wait was aborted.
func (h *Handle) stopYielding(t *TaskContext) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.extra == nil {
		return // it has ended meanwhile
	}
	if i := slices.Index(h.extra.yielded, t); i >= 0 {
		h.extra.yielded = slices.Delete(h.extra.yielded, i, i+1)
		t.slot.reacquire(t)
	}
}

// end sets the outcome, and all who wait for it go on. Collections receive the handle through announced, or at once if it is
// nil. Session.mu is held. A collection receives the handle last: whoever takes it from there may use it again.
func (h *Handle) end(v *task.Value, failure error, announced *announcement) {
	first := h.first
	h.first = nil
	if h.released && h.needed == 0 {
		h.content = task.Value{}
	} else {
		h.content.Set(v)
	}
	h.failure = failure
	h.ended.Store(true)
	if h.done != nil {
		close(h.done)
	}
	if h.extra != nil {
		h.extra.end(h)
	}
	switch {
	case first == nil:
	case announced == nil:
		first.add(h)
	default:
		announced.add(first, h)
	}
}

// end has those who wait go on. Session.mu is held: a task takes its slot back before another one can take it.
func (x *extra) end(h *Handle) {
	for _, t := range x.yielded {
		t.slot.reacquire(t)
	}
	for _, t := range x.polling {
		t.slot.reacquire(t)
	}
	x.yielded, x.polling = nil, nil
	for _, c := range x.watching {
		c.add(h)
	}
	x.watching = nil
}
