package session

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/objstore"
)

// Template is what submits of one function with the same options have in common. It must not be copied
// or changed once it was used: sessions remember in it what they decided for it.
type Template struct {
	Func      string
	Version   string         // of the function's code; part of the tasks' names in a named job
	Resources task.Resources // one CPU is understood
	Level     task.Level     // "" = Normal
	Retries   int            // further attempts after an error
	Timeout   time.Duration  // of one attempt; 0 = none
	Deadline  time.Duration  // from submit to outcome; 0 = none
	Delay     time.Duration  // from submit to the first dispatch
	Pending   int            // bound on the owner's open tasks; 0 = DefaultPending, below 0 = none

	route  atomic.Pointer[route] // for drivers
	nested atomic.Pointer[route] // for tasks
}

// Bounds on the open tasks of a session: Submit waits while one of them is reached.
const (
	DefaultPending = 1_000_000
	pendingBytes   = 256 << 20 // of inputs, with what a spec adds to each
)

// ErrPendingFull says that the context ended while Submit waited for other tasks to end.
var ErrPendingFull = errors.New("too many pending tasks")

// Order is one submit.
type Order struct {
	Template *Template
	Input    task.Value   // copied by Submit
	Deps     []*Handle    // to what the input refers, by index
	Whole    bool         // the input is the value of the only one in Deps
	Failure  error        // known before: the outcome, and no task is made
	Collect  *Completions // told when the task has its outcome; nil = nobody
	Tag      int          // for Handle.Tag
	Borrow   bool         // the outcome is looked at soon, and then forgotten: its value need not be copied
}

// Submit numbers a task and puts it on its way. It waits only while a bound on open tasks is reached. A
// failure to submit is the handle's outcome. The handle is h, which nobody else may hold any more, or a
// new one if h is nil. o is not to be used again. A task that submits more than the bound runs what it submits itself, at once: so it need not
// wait for others, which may wait for the same.
func (s *Session) Submit(ctx context.Context, o *Order, h *Handle) *Handle {
	h, batch := s.submit(ctx, o, h)
	batch.send()
	if h.child != nil && s.crowded(h, o.Template) {
		TaskIn(ctx).runHere(ctx, h)
	}
	return h
}

// crowded reports whether there are too many open tasks with this one, which waits on this agent.
func (s *Session) crowded(h *Handle, t *Template) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.child.list != nil && !s.room(t.Pending)
}

// submit returns a batch, too, if one is to be sent.
func (s *Session) submit(ctx context.Context, o *Order, h *Handle) (*Handle, *sending) {
	err := o.Failure
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = s.adopt(ctx, o.Deps)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var claimed []objstore.Key
	if err == nil {
		claimed, err = s.fit(ctx, &o.Input)
	}
	parent := s.nestedIn(ctx)
	h = s.handle(h, o, parent != nil)
	if err == nil {
		err = s.admit(ctx, h, o.Template, parent)
	}
	if err == nil {
		err = usable(o.Deps)
	}
	if f, ok := errors.AsType[*task.Failure](err); ok && f.Func == "" {
		named := *f
		named.Func = o.Template.Func
		err = &named
	}
	defer s.drop(claimed)
	if err != nil {
		h.end(task.Value{}, err)
		return h, nil
	}
	s.submitting = true
	s.begin(h, o)
	s.submitting = false
	return h, s.sendAtOnce(h.route.lane)
}

// handle returns the handle of a new task: h, which may have been used before, or a new one. A child has one of
// its own. mu is held.
func (s *Session) handle(h *Handle, o *Order, child bool) *Handle {
	var c *Child
	switch {
	case child:
		c = &Child{}
		h = &c.handle
	case h == nil:
		h = new(Handle)
	default:
		s.let(h)
	}
	*h = Handle{}
	h.s, h.first, h.tag, h.borrow, h.child = s, o.Collect, int32(o.Tag), o.Borrow && !child, c
	return h
}

// adopt makes what an input refers to the session's.
func (s *Session) adopt(ctx context.Context, deps []*Handle) error {
	for i, d := range deps {
		if err := s.owns(d); err != nil {
			return err
		}
		if d.s == nil && d.failure != nil {
			return becauseOf(d.failure, i)
		}
		if v, local := d.Value(); local {
			var err error
			if d, err = s.put(ctx, v, nil); err != nil {
				return err
			}
			deps[i] = d
		}
	}
	return nil
}

// usable returns why an input cannot refer to these: one has failed, or was released. mu is held.
func usable(deps []*Handle) error {
	for i, d := range deps {
		switch {
		case !d.ended.Load():
		case d.failure != nil:
			return becauseOf(d.failure, i)
		case d.released && d.needed == 0:
			return becauseOf(ErrReleased, i)
		}
	}
	return nil
}

// begin puts an admitted task on its way, or finds what a former run has left of it. mu is held.
func (s *Session) begin(h *Handle, o *Order) {
	t := o.Template
	event := graph.Event{What: graph.Submitted, Retries: t.Retries, Delay: t.Delay}
	if s.job != nil && s.recall(h, o, &event) {
		h.endStanding()
		return
	}
	if event.Task == 0 {
		s.number++
		event.Task = s.number
	}
	if s.job != nil {
		s.job.open[h.digest()] = event.Task
	}
	h.number, h.Dispatch, h.flushes = event.Task, event.Dispatch, s.flushed
	h.Attempt = max(h.Attempt, 1)
	h.content.Type, h.content.Data, h.content.External = o.Input.Type, s.keepInput(o.Input.Data), o.Input.External
	s.bytes += len(h.content.Data) + task.SpecBytes
	s.holdInput(h)
	s.depend(h, o, &event)
	if h.stored = event.Queued || event.Delay > 0 || len(event.Deps) > 0 || h.local() != nil; !h.stored { // others are not runnable yet
		s.unstored++
	}
	s.open.Put(h.number, h)
	if h.local() != nil {
		s.local++
	} else if s.published() == 1 { // silence begins with the first open task
		s.heard = time.Now()
		s.listenLater()
	}
	if t.Deadline > 0 {
		s.wait(h.number, t.Deadline, graph.Expired)
	}
	s.step(&event, h, nil)
}

// recall gives a task the digest that it has in all runs of the job. It reports whether its result is
// recorded; else event says where the task goes on. mu is held.
func (s *Session) recall(h *Handle, o *Order, event *graph.Event) (recorded bool) {
	digest, left, known, failed := s.job.recall(o.Template, o.Input, o.Deps)
	h.named = &named{digest: digest}
	for _, f := range failed {
		s.seeLetter(h, o.Input, f)
	}
	if known && left.State.Final() {
		h.named.stands = standing{left.Sequence, left.Index}
		s.job.decide(h)
		return true
	}
	if known {
		event.Task, event.Dispatch, event.Queued = left.Number, left.Dispatch, left.Queued
		event.Delay = 0
		h.share = int32(s.job.share)
		if len(left.History) > 0 {
			s.notes[left.Number] = left.History
		}
	}
	return false
}

// admit finds the task's route, and waits for room. mu is held, and given up while waiting.
func (s *Session) admit(ctx context.Context, h *Handle, t *Template, parent *TaskContext) (err error) {
	if s.broken != nil {
		return s.broken
	}
	if h.route, err = s.place(t, parent != nil); err == nil && parent != nil {
		err = s.bear(h, parent)
	}
	if err != nil || h.local() != nil {
		return err
	}
	if err := s.cfg.Full(); err != nil {
		return err
	}
	if parent != nil { // to wait for others could be to wait for those that wait for this one
		if s.bytes >= s.cfg.MaxPendingBytes {
			return ErrPendingFull
		}
		return nil
	}
	for !s.room(t.Pending) {
		if err := s.awaitRoom(ctx); err != nil {
			return err
		}
		if s.broken != nil {
			return s.broken
		}
	}
	return nil
}

// room reports whether another task may be open. What waits in queues must leave room for records in the
// same server, so even without bounds there is one on bytes.
func (s *Session) room(pending int) bool {
	switch {
	case pending < 0:
		return s.bytes < s.cfg.MaxPendingBytes
	case pending == 0:
		pending = DefaultPending
	}
	return s.open.Len() < pending && s.bytes < min(pendingBytes, s.cfg.MaxPendingBytes)
}

// awaitRoom waits until a task has ended. mu is held before and after.
func (s *Session) awaitRoom(ctx context.Context) error {
	if s.asleep == nil {
		s.asleep = make(chan struct{})
	}
	room := s.asleep
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-room:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrPendingFull, ctx.Err())
	}
}

// roomAgain wakes who waits for room. mu is held.
func (s *Session) roomAgain() {
	if s.asleep != nil {
		close(s.asleep)
		s.asleep = nil
	}
}

// A Map has so much work under way for each slot, by expected run times, and so many tasks at most.
const (
	windowWork  = 4 * leastWork
	windowTasks = 4 * BatchTasks
)

// InFlight returns how many tasks of the template should be under way at a time to keep the slots of its
// class busy and the batches full: twice the slots, and more for short functions.
func (s *Session) InFlight(t *Template) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.place(t, s.cfg.Host != nil)
	if err != nil {
		return 1
	}
	s.count(r.lane)
	each := 2
	if r.cost.known() {
		each += int(min(windowWork/max(r.cost.expected(), 1), windowTasks))
	}
	return r.lane.slots * each
}

// Inputs are kept in chunks: one allocation for many. A chunk lives as long as one of its inputs.
const (
	arenaBytes = 64 << 10
	arenaOwn   = 8 << 10 // an input of this size has its own
)

// keepInput copies an input. mu is held.
func (s *Session) keepInput(in []byte) []byte {
	if len(in) >= arenaOwn {
		return append([]byte(nil), in...)
	}
	if cap(s.arena)-len(s.arena) < len(in) {
		s.arena = make([]byte, 0, arenaBytes)
	}
	at := len(s.arena)
	s.arena = append(s.arena, in...)
	return s.arena[at:len(s.arena):len(s.arena)]
}

// flush is somebody who waits until what was submitted before is stored.
type flush struct {
	number uint32 // of the Flush; tasks that were submitted before have less
	left   int    // tasks submitted before that are not stored
	done   chan struct{}
}

// Flush returns when every task submitted before is stored in its queue. It returns the context's error
// if that ends first, and the session's if it is closed.
func (s *Session) Flush(ctx context.Context) error {
	s.mu.Lock()
	if s.broken != nil || s.unstored == 0 {
		defer s.mu.Unlock()
		return s.broken
	}
	s.flushed++
	f := &flush{number: s.flushed, left: s.unstored, done: make(chan struct{})}
	s.flushes = append(s.flushes, f)
	s.mu.Unlock()
	defer waiting(ctx)()
	select {
	case <-f.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.broken
	case <-ctx.Done():
		return ctx.Err()
	}
}

// markStored notes that a task's first dispatch is acknowledged, or needs to be no more. mu is held.
func (s *Session) markStored(h *Handle) {
	if h.stored {
		return
	}
	h.stored = true
	s.unstored--
	kept := s.flushes[:0]
	for _, f := range s.flushes {
		if h.flushes < f.number {
			f.left--
		}
		if f.left > 0 {
			kept = append(kept, f)
		} else {
			close(f.done)
		}
	}
	s.flushes = kept
}
