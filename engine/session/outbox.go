package session

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/queues"
)

// laneKey names a lane: a class, and a level in it.
type laneKey struct {
	class task.Class
	level task.Level
}

// lane is the owner's end of one class and level: the tasks that wait to be published there. What waits when the
// writer is free goes out together, so an idle lane sends one task at once and a busy one fills batches;
// no timer is involved.
type lane struct {
	laneKey
	shape task.Resources

	queue   *queues.Queue // guarded by Session.mu; nil until it is opened
	waiting fifo          // guarded by Session.mu; numbers: a handle may be used again once its task has an outcome
	writing int           // guarded by Session.mu; batches without an answer
	retry   time.Time     // guarded by Session.mu; not before, after a refusal
	gone    bool          // guarded by Session.mu; the queue is to be made again

	window window    // guarded by Session.mu
	hold   time.Time // guarded by Session.mu; until when what waits may be held back

	slots   int    // guarded by Session.mu; of the nodes together, for this shape
	agents  int    // guarded by Session.mu; nodes
	changes uint64 // guarded by Session.mu; of the directory, when slots was counted
}

// Sizes of a batch: the least of all of them.
const (
	BatchTasks    = 1024
	batchBytes    = 256 << 10
	batchFar      = 64 << 20             // of objects that its inputs have
	leastWork     = 5 * time.Millisecond // of one batch, by expected run times
	storesPerWork = 20                   // and at least this many times what storing a message takes
	unknownTasks  = 64                   // of a function whose run time is not known

	firstStoring = 50 * time.Microsecond
	refusedAgain = 250 * time.Millisecond
	openTimeout  = 10 * time.Second
)

// lane returns the lane of the class and level. mu is held.
func (s *Session) lane(key laneKey, shape task.Resources) *lane {
	l := s.lanes[key]
	if l == nil {
		l = &lane{laneKey: key, shape: shape, changes: ^uint64(0)}
		s.lanes[key] = l
		s.order = append(s.order, l)
	}
	return l
}

// enqueue puts a task into its lane. mu is held.
func (s *Session) enqueue(h *Handle) {
	l := h.route.lane
	if l.waiting.len() == 0 && l.window.open() > 0 {
		l.hold = time.Now().Add(holdMost)
	}
	l.waiting.push(h.number)
	if l.free() && !s.submitting {
		s.rouse()
	}
}

// free reports whether the writer is free: no batch is without an answer, or what was sent has ended all the same.
func (l *lane) free() bool { return l.writing == 0 || l.window.open() == 0 }

func (l *lane) sendable(now time.Time) bool {
	return l.waiting.len() > 0 && l.free() && !now.Before(l.retry) && !l.held(now)
}

// sendable reports whether some lane can send. mu is held.
func (s *Session) sendable(now time.Time) bool {
	for _, l := range s.order {
		if l.sendable(now) {
			return true
		}
	}
	return false
}

// publish sends a batch from each lane whose writer is free.
func (s *Session) publish() {
	now := time.Now()
	s.mu.Lock()
	lanes, leased := s.order, now.Before(s.until)
	s.mu.Unlock()
	if !leased {
		return // another may hold the name by now
	}
	for _, l := range lanes {
		s.mu.Lock()
		sendable := l.sendable(now)
		s.mu.Unlock()
		if sendable && s.openLane(l) {
			s.sendBatch(l)
		}
	}
}

// openLane makes the class's queue when it is first used, and tells agents of the class.
func (s *Session) openLane(l *lane) bool {
	s.mu.Lock()
	queue, gone := l.queue, l.gone
	l.gone = false
	s.mu.Unlock()
	if queue != nil && !gone {
		return true
	}
	ctx, cancel := context.WithTimeout(s.base, openTimeout)
	defer cancel()
	queue, err := s.broker.OpenQueue(ctx, s.broker.Batches(string(l.class), string(l.level)))
	if err == nil && gone {
		err = queue.Restore(ctx)
	}
	if err == nil {
		_, err = s.classes.Create(ctx, ClassKey(l.class, l.level), []byte(l.class))
	}
	if err != nil && !errors.Is(err, queues.ErrRevision) {
		s.cfg.Logger.Warn("session: open a class", "class", l.class, "err", err)
		s.mu.Lock()
		l.retry, l.gone = time.Now().Add(refusedAgain), gone
		s.mu.Unlock()
		return false
	}
	s.mu.Lock()
	l.queue = queue
	s.mu.Unlock()
	return true
}

// sendBatch forms a batch from what waits and sends it.
func (s *Session) sendBatch(l *lane) {
	s.mu.Lock()
	b := s.formBatch(l)
	s.mu.Unlock()
	b.send()
}

// sendAtOnce returns the batch that a submit is to send on its caller's own goroutine, since the run loop sleeps and
// would have to be woken for it: nil if there is nothing to be sent, or if that is for the run loop. mu is held.
func (s *Session) sendAtOnce(l *lane) *sending {
	if l.waiting.len() == 0 || !l.free() || !s.idle {
		return nil
	}
	now := time.Now()
	if l.waiting.len() > 1 && l.held(now) {
		return nil // the run loop knows since the first of them
	}
	if l.queue == nil || l.gone || !l.sendable(now) || !now.Before(s.until) {
		s.rouse()
		return nil
	}
	return s.formBatch(l)
}

// sending is a batch that is to be sent.
type sending struct {
	s       *Session
	lane    *lane
	queue   *queues.Queue
	numbers []uint64
	header  queues.Header
	*form
}

// form is the memory in which a batch is put together: what it has was copied under the lock, and is encoded without it.
type form struct {
	batch task.Batch
	size  int // in bytes, about
	data  []byte
}

var forms = sync.Pool{New: func() any { return new(form) }}

// encode returns the message.
func (f *form) encode() []byte {
	f.data = task.AppendBatch(slices.Grow(f.data[:0], f.size), &f.batch)
	return bytes.Clone(f.data)
}

// release lets others use the memory.
func (f *form) release() {
	clear(f.batch.Specs) // they would keep the inputs
	if cap(f.data) <= batchBytes {
		forms.Put(f)
	}
}

// formBatch forms a batch from what waits, nil if there is nothing. mu is held.
func (s *Session) formBatch(l *lane) *sending {
	tasks := s.form(l)
	if len(tasks) == 0 {
		return nil
	}
	l.writing++
	l.window.send(len(tasks))
	b := &sending{s, l, l.queue, make([]uint64, len(tasks)), s.me.header, forms.Get().(*form)}
	s.fill(b.form, l, tasks)
	for i, h := range tasks {
		b.numbers[i] = h.number
	}
	return b
}

// send sends the batch. The answer comes to stored.
func (b *sending) send() {
	if b == nil {
		return
	}
	message := queues.Message{Header: b.header, Data: b.encode()}
	b.release()
	sent := time.Now()
	failpoint.Hit("publish.before")
	b.queue.Send(message, func(err error) { b.s.stored(b.lane, b.numbers, sent, err) })
}

// form takes the tasks of the next batch from the lane. What got its outcome while it waited is left out.
// The slice is good until the next call. mu is held.
func (s *Session) form(l *lane) []*Handle {
	s.count(l)
	free := max(l.slots-l.window.open(), l.agents, 1) // a batch is one agent's
	limit := min(BatchTasks, (l.waiting.len()+free-1)/free)
	budget := max(leastWork, storesPerWork*s.storing)
	tasks, bytes, far, work := s.forming[:0], 0, int64(0), time.Duration(0)
	n := 0
	for ; n < l.waiting.len() && len(tasks) < limit; n++ {
		h := s.openTask(l.waiting.at(n))
		if h == nil {
			continue
		}
		c := h.route.cost
		if !c.known() {
			limit = min(limit, c.unknownLimit(l.slots))
		}
		if h.Losses > 0 {
			limit = min(limit, h.part())
		}
		inline, elsewhere := h.size()
		bytes += inline
		far += elsewhere
		work += c.expected()
		if len(tasks) > 0 && (len(tasks) >= limit || bytes > batchBytes || far > batchFar || work > budget || !h.mayJoin(tasks[0])) {
			break
		}
		if !c.known() {
			c.trying++
		}
		tasks = append(tasks, h)
	}
	l.waiting.take(n)
	s.forming = tasks
	return tasks
}

// lossParts is into how many batches those tasks are published again that were lost in one: so what kills
// its agent is soon found.
const lossParts = 16

func parts(lost int) int { return max(1, (lost+lossParts-1)/lossParts) }

// part returns how many tasks a batch may have with this one in it, which was lost before.
func (h *Handle) part() int {
	if h.Losses >= graph.Alone {
		return 1
	}
	return max(1, int(h.share))
}

// mayJoin reports whether the task may share a batch with another: those that were lost keep to themselves.
func (h *Handle) mayJoin(first *Handle) bool { return (h.Losses > 0) == (first.Losses > 0) }

// count counts the lane's slots, if the directory has changed. mu is held.
func (s *Session) count(l *lane) {
	if changes := s.nodes.Changes(); changes != l.changes {
		l.changes, l.slots, l.agents = changes, max(1, s.nodes.Slots(l.shape)), s.nodes.Count()
	}
}

// unknownLimit is how many tasks of a function that was not measured yet go into one batch: one, until
// each slot has one, and some more then.
func (c *cost) unknownLimit(slots int) int {
	if c.trying < slots {
		return 1
	}
	return unknownTasks
}

// fill copies the tasks to the batch. mu is held.
func (s *Session) fill(f *form, l *lane, tasks []*Handle) {
	b := &f.batch
	*b = task.Batch{Owner: s.me.owner, Class: l.class, Level: l.level, Specs: slices.Grow(b.Specs[:0], len(tasks))[:len(tasks)], Calls: b.Calls[:0]}
	if s.scope != s.me.owner {
		b.Scope = s.scope
	}
	f.size = 64 + len(b.Scope)
	for i, h := range tasks {
		call := len(b.Calls) - 1
		for call >= 0 && b.Calls[call] != h.route.call {
			call--
		}
		if call < 0 {
			call = len(b.Calls)
			b.Calls = append(b.Calls, h.route.call)
			f.size += len(h.route.call.Func) + task.SpecBytes
		}
		h.fill(&b.Specs[i], call)
		inline, _ := h.size()
		f.size += inline
	}
}

// fill copies the task to spec, which is zero. Session.mu is held.
func (h *Handle) fill(spec *task.Spec, call int) {
	spec.Number, spec.Digest, spec.Call, spec.Dispatch = h.number, h.digest(), call, h.Dispatch
	in := h.inputOf()
	spec.Input.Set(&in)
}

// stored takes the answer to a batch: it is stored, or refused, and then its tasks wait again.
func (s *Session) stored(l *lane, numbers []uint64, sent time.Time, err error) {
	failpoint.Hit("publish.after")
	s.mu.Lock()
	defer s.mu.Unlock()
	l.writing--
	switch {
	case err == nil:
		s.storing += (time.Since(sent) - s.storing) / 16
		for _, number := range numbers {
			if h := s.openTask(number); h != nil {
				s.markStored(h)
			}
		}
	case errors.Is(err, queues.ErrTooLarge) && len(numbers) == 1: // it will never be taken
		if h := s.openTask(numbers[0]); h != nil {
			s.condemn(h, &task.Failure{Kind: task.KindTooLarge, Message: err.Error()})
		}
	case s.broken == nil:
		for range numbers {
			l.window.end()
		}
		l.waiting.putBack(numbers)
		l.retry = time.Now().Add(refusedAgain)
		l.gone = errors.Is(err, queues.ErrNoStream)
		s.cfg.Logger.Warn("session: a batch was refused; trying again", "class", l.class, "tasks", len(numbers), "err", err)
	}
	if l.waiting.len() > 0 {
		s.rouse()
	}
}
