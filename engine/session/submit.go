package session

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// Template is what submits of one function with the same options have in common. It must not be copied
// or changed once it was used: sessions remember in it what they decided for it.
type Template struct {
	Func      string
	Version   string         // of the function's code; part of the tasks' names in a named job
	Resources task.Resources // one CPU unless it says otherwise
	Level     task.Level     // "" = Normal
	Retries   int            // further attempts after an error
	Timeout   time.Duration  // of one attempt; 0 = none
	Deadline  time.Duration  // from submit to outcome; 0 = none
	Delay     time.Duration  // from submit to the first dispatch
	Pending   int            // bound on the owner's open tasks; 0 = DefaultPending, below 0 = none

	route  atomic.Pointer[route] // for drivers
	nested atomic.Pointer[route] // for tasks
}

// Order is one submit.
type Order struct {
	Template *Template
	Input    task.Value   // copied by Submit
	Deps     []*Handle    // to what the input refers, by index
	Whole    bool         // the input is the value of the only one in Deps
	Failure  error        // known before: the outcome, and no task is made
	Collect  *Completions // receives the handle when the task has its outcome; nil = nobody
	Tag      int          // for Handle.Tag
	Borrow   bool         // the outcome is looked at soon, and then forgotten: its value need not be copied
}

// Submit numbers a task and sends it. It waits only while a bound on open tasks is reached. A failure to submit is the
// handle's outcome. The handle is h, which nobody else may hold any more, or a new one if h is nil. o is not to be used
// again.
//
// A task that submits more children than the bound runs what it submits itself, at once: so it need not wait for others,
// which may wait for the same.
func (s *Session) Submit(ctx context.Context, o *Order, h *Handle) *Handle {
	parent := s.parentIn(ctx)
	acquired, err := s.prepare(ctx, o)
	u := s.lock()
	h = s.newHandleLocked(h, o, parent != nil)
	if err == nil {
		err = u.admit(ctx, h, o, parent)
	}
	var out submitted
	if err == nil {
		out = u.commit(h, o)
	} else {
		h.end(&task.Value{}, o.failure(err), nil)
	}
	u.unlock()
	s.objects.release(acquired)
	out.batch.send()
	if out.crowded {
		parent.runInline(ctx, h)
	}
	return h
}

// submitted is what is to be done when a task was submitted.
type submitted struct {
	batch   *sending // to be sent; nil if there is none
	crowded bool     // there are too many open tasks: the parent runs the child itself
}

// prepare makes what the input refers to the session's, and puts what of the input is too large for a message into the
// store. It returns the objects of the input, which it has acquired.
func (s *Session) prepare(ctx context.Context, o *Order) (acquired objectKeys, err error) {
	if o.Failure != nil {
		return nil, o.Failure
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.adopt(ctx, o.Deps); err != nil {
		return nil, err
	}
	if values.IsSmall(&o.Input) {
		return nil, nil
	}
	return s.externalize(ctx, &o.Input, s.objects.acquire(&o.Input))
}

// adopt makes what an input refers to the session's: literals are put.
func (s *Session) adopt(ctx context.Context, deps []*Handle) error {
	for i, d := range deps {
		if err := s.owns(d); err != nil {
			return err
		}
		if d.s == nil && d.failure != nil {
			return becauseOf(d.failure, i)
		}
		if v, literal := d.Value(); literal {
			var err error
			if deps[i], err = s.put(ctx, v, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// OpError says what was tried with an error that has no other name: a task that could not be submitted, or a value that could
// not be put.
type OpError struct {
	Op  string
	Err error
}

// Error returns what was tried, and the error's text.
func (e *OpError) Error() string { return "engine: " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the error.
func (e *OpError) Unwrap() error { return e.Err }

// failure returns the failure of a submit, which names the function.
func (o *Order) failure(err error) error {
	if f, ok := errors.AsType[*task.Failure](err); ok && f.Func == "" {
		named := *f
		named.Func = o.Template.Func
		return &named
	} else if ok {
		return err
	}
	return &OpError{"submit " + o.Template.Func, err}
}

// newHandleLocked returns the handle of a new task: h, which may have been used before, or a new one. A child has one of
// its own.
func (s *Session) newHandleLocked(h *Handle, o *Order, isChild bool) *Handle {
	var c *Child
	switch {
	case isChild:
		c = &Child{}
		h = &c.handle
	case h == nil:
		h = new(Handle)
	default:
		h.releaseObjects()
		*h = Handle{}
	}
	h.s, h.child = s, c
	h.first, h.tag, h.borrow = o.Collect, int32(o.Tag), o.Borrow && !isChild
	return h
}

// admit finds the task's route, and waits for room, for which it gives Session.mu up meanwhile.
func (u *update) admit(ctx context.Context, h *Handle, o *Order, parent *TaskContext) (err error) {
	s := u.s
	if s.broken != nil {
		return s.broken
	}
	if h.route, err = s.routeLocked(o.Template, parent != nil); err != nil {
		return err
	}
	if parent != nil {
		err = s.addChildLocked(h, parent)
	}
	if err == nil && h.localChild() == nil {
		err = u.awaitRoom(ctx, o.Template.Pending, parent != nil)
	}
	if err != nil {
		return err
	}
	return usable(o.Deps)
}

// awaitRoom waits until another task that is to be published may be open. Of children it returns an error instead: to wait
// for others could be to wait for those that wait for this one.
func (u *update) awaitRoom(ctx context.Context, pending int, isChild bool) error {
	s, t := u.s, &u.s.tracker
	if err := s.cfg.Full(); err != nil {
		return err
	}
	if isChild {
		if t.room.full() {
			return fmt.Errorf("%w: %s", ErrPendingFull, t.pending())
		}
		return nil
	}
	for !t.room.has(t.open.Len(), pending) {
		freed := t.room.freed.C()
		s.mu.Unlock()
		var err error
		select {
		case <-freed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.mu.Lock()
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrPendingFull, t.pending(), err)
		}
		if s.broken != nil {
			return s.broken
		}
	}
	return nil
}

// commit makes an admitted task an open one and dispatches it, or finds what a former run has left of it.
func (u *update) commit(h *Handle, o *Order) (out submitted) {
	s, t := u.s, o.Template
	event := graph.Event{What: graph.Submitted, Retries: t.Retries, Delay: t.Delay}
	if s.resume != nil && s.recallLocked(h, o, &event) {
		h.inLog = true
		h.end(&task.Value{}, nil, nil)
		return out
	}
	s.numberLocked(h, &event)
	h.content.Type, h.content.Data, h.content.External = o.Input.Type, s.arena.keep(o.Input.Data), o.Input.External
	s.objects.holdInput(h.number, h.inputObjects())
	s.dependOnLocked(h, o, &event)
	s.tracker.stores.begin(h, event.Queued || event.Delay > 0 || len(event.Deps) > 0 || h.localChild() != nil)
	s.tracker.add(h)
	if h.localChild() == nil && s.tracker.published() == 1 { // the log may be silent from the first open task on
		s.reader.expect()
	}
	if t.Deadline > 0 {
		u.setTimer(h.number, t.Deadline, deadlinePassed)
	}
	u.apply(&event, h, nil)
	if c := h.localChild(); c != nil {
		out.crowded = c.queue != nil && !s.tracker.room.has(s.tracker.open.Len(), t.Pending)
	}
	if u.enqueued {
		u.enqueued = false
		out.batch = s.sendAtOnceLocked(h.route.lane)
	}
	return out
}

// numberLocked numbers a task, unless a former run of the job has.
func (s *Session) numberLocked(h *Handle, event *graph.Event) {
	if event.Task == 0 {
		s.tracker.number++
		event.Task = s.tracker.number
	}
	if s.resume != nil {
		s.resume.open[h.digest()] = event.Task
	}
	h.number, h.dispatch = event.Task, event.Dispatch
	h.dispatch.Attempt = max(h.dispatch.Attempt, 1)
	h.given = event.Queued || event.Losses > 0
}

// recallLocked gives a task the digest that it has in all runs of the job. It reports whether its result is recorded;
// otherwise event says where the task goes on.
func (s *Session) recallLocked(h *Handle, o *Order, event *graph.Event) (isRecorded bool) {
	r := s.resume.recall(o.Template, o.Input, o.Deps)
	h.named = &named{digest: r.digest}
	for _, f := range r.failed {
		s.letters.addFormer(h, o.Input, f)
	}
	if !r.known {
		return false
	}
	if r.left.State.Final() {
		h.named.recordedAt = logPosition{r.left.Sequence, r.left.Index}
		s.resume.decide(h)
		return true
	}
	event.Task, event.Dispatch, event.Queued = r.left.Number, r.left.Dispatch, r.left.Queued
	event.Delay = 0
	h.share = int32(s.resume.share)
	if len(r.left.History) > 0 {
		s.tracker.history[r.left.Number] = r.left.History
	}
	return false
}

// Bounds on what a Map has under way for each slot: work by expected run times, and tasks.
const (
	windowWork  = 4 * leastWork
	windowTasks = 4 * BatchTasks
)

// InFlight returns how many tasks of the template should be under way at a time to keep the slots of its
// class busy and the batches full: twice the slots, and more for short functions.
func (s *Session) InFlight(t *Template) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.routeLocked(t, s.cfg.Host != nil)
	if err != nil {
		return 1
	}
	r.lane.count(s.nodes)
	each := 2
	if r.cost.known() {
		each += int(min(windowWork/max(r.cost.expected(), 1), windowTasks))
	}
	return r.lane.slots * each
}

// arena keeps inputs in chunks: one allocation for many. A chunk lives as long as one of its inputs.
type arena []byte

const (
	arenaBytes = 64 << 10
	arenaOwn   = 8 << 10 // an input of this size has an allocation of its own
)

// keep returns a copy of an input.
func (a *arena) keep(in []byte) []byte {
	if len(in) >= arenaOwn {
		return append([]byte(nil), in...)
	}
	if cap(*a)-len(*a) < len(in) {
		*a = make([]byte, 0, arenaBytes)
	}
	at := len(*a)
	*a = append(*a, in...)
	return (*a)[at:len(*a):len(*a)]
}
