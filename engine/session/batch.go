package session

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/queues"
)

// sending is a batch that is to be sent. It belongs to whoever sends it.
type sending struct {
	s       *Session
	lane    *lane
	queue   *queues.Queue
	numbers []uint64
	header  queues.Header
	*form
}

// form is the memory in which a batch is put together: what it has was copied under Session.mu, and is encoded without it.
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

// sendAtOnceLocked returns the batch that a submit is to send on its caller's own goroutine, since the publisher sleeps and
// would have to be woken for it: nil if there is nothing to be sent, or if the publisher is to do it.
func (s *Session) sendAtOnceLocked(l *lane) *sending {
	if l.waiting.len() == 0 || !l.free() || !s.publisher.sleeps {
		return nil
	}
	now := time.Now()
	if l.waiting.len() > 1 && l.held(now) {
		return nil // the publisher knows since the first of them
	}
	if l.queue == nil || l.gone || !l.sendable(now) || !s.keeper.leased(now) {
		s.publisher.wakeUp()
		return nil
	}
	return s.formBatchLocked(l)
}

// formBatchLocked forms a batch from what waits, nil if there is nothing.
func (s *Session) formBatchLocked(l *lane) *sending {
	l.count(s.nodes)
	tasks := s.outbox.form(l, &s.tracker)
	if len(tasks) == 0 {
		return nil
	}
	l.writing++
	l.window.send(len(tasks))
	id := s.reader.identity()
	b := &sending{s, l, l.queue, make([]uint64, len(tasks)), id.header, forms.Get().(*form)}
	b.fill(id.owner, s.objects.scope, tasks)
	return b
}

// fill copies the tasks to the batch. Session.mu is held.
func (b *sending) fill(owner, scope string, tasks []*Handle) {
	f, batch := b.form, &b.batch
	*batch = task.Batch{
		Owner: owner, Class: b.lane.class, Level: b.lane.level,
		Specs: slices.Grow(batch.Specs[:0], len(tasks))[:len(tasks)], Calls: batch.Calls[:0],
	}
	if scope != owner {
		batch.Scope = scope
	}
	f.size = 64 + len(batch.Scope)
	for i, h := range tasks {
		b.numbers[i] = h.number
		call := len(batch.Calls) - 1
		for call >= 0 && batch.Calls[call] != h.route.call {
			call--
		}
		if call < 0 {
			call = len(batch.Calls)
			batch.Calls = append(batch.Calls, h.route.call)
			f.size += len(h.route.call.Func) + task.SpecBytes
		}
		h.fill(&batch.Specs[i], call)
		inline, _ := h.sizeLocked()
		f.size += inline
	}
}

// fill copies the task to spec, which is zero. Session.mu is held.
func (h *Handle) fill(spec *task.Spec, call int) {
	h.given = true
	spec.Number, spec.Digest, spec.Call, spec.Dispatch = h.number, h.digest(), call, h.dispatch
	in := h.inputLocked()
	spec.Input.Set(&in)
}

// send sends the batch. The server's answer comes to answered.
func (b *sending) send() {
	if b == nil {
		return
	}
	message := queues.Message{Header: b.header, Data: b.encode()}
	b.release()
	sent := time.Now()
	failpoint.Hit("publish.before")
	b.queue.Send(message, func(err error) { b.s.answered(b.lane, b.numbers, sent, err) })
}

// answered takes the server's answer to a batch: it is stored, or refused, and then its tasks wait again.
func (s *Session) answered(l *lane, numbers []uint64, sent time.Time, err error) {
	failpoint.Hit("publish.after")
	u := s.lock()
	defer u.unlock()
	l.writing--
	switch {
	case err == nil:
		s.outbox.storing.Add(time.Since(sent))
		for _, number := range numbers {
			if h := s.tracker.task(number); h != nil {
				s.tracker.stores.stored(h)
			}
		}
	case errors.Is(err, queues.ErrTooLarge) && len(numbers) == 1: // it will never be taken
		if h := s.tracker.task(numbers[0]); h != nil {
			h.given = false
			u.failInput(h, &task.Failure{Kind: task.KindTooLarge, Message: err.Error()})
		}
	case s.broken == nil:
		l.refused(numbers, errors.Is(err, queues.ErrNoStream))
		s.cfg.Logger.Warn("session: the server refused a batch; trying again", "class", l.class, "level", l.level, "tasks", len(numbers), "err", err)
	}
	u.publish = u.publish || l.waiting.len() > 0
}

// refused has the tasks of a batch wait again. gone says that there is no queue any more.
func (l *lane) refused(numbers []uint64, gone bool) {
	for range numbers {
		l.window.end()
	}
	l.waiting.putBack(numbers)
	l.retry = time.Now().Add(retryDelay)
	l.gone = gone
}

// openTimeout bounds the requests that opening a lane takes.
const openTimeout = 10 * time.Second

// openLane makes the class's queue when it is first used, and writes the class into the table of classes, which agents watch.
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !errors.Is(err, queues.ErrRevision) {
		s.cfg.Logger.Warn("session: open the queue of a class; trying again", "class", l.class, "level", l.level, "err", err)
		l.retry, l.gone = time.Now().Add(retryDelay), gone
		return false
	}
	l.queue = queue
	return true
}
