package session

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/wait"
)

// inputLoader has a goroutine of its own for inputs that need I/O before they can be sent: a result of a former run is to
// be read from the log, or the input is too large with all it refers to, and is put into the store.
type inputLoader struct {
	wake wait.Signal

	mu    sync.Mutex // taken after Session.mu
	queue []uint64   // guarded by mu; numbers of tasks
}

// add has the task's input loaded. It may be called under Session.mu.
func (l *inputLoader) add(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, number)
	l.wake.Set()
}

// next returns the next task whose input is to be loaded, 0 if there is none.
func (l *inputLoader) next() (number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.queue = nil
		return 0
	}
	number, l.queue = l.queue[0], l.queue[1:]
	return number
}

// loadInputs is the goroutine.
func (s *Session) loadInputs() {
	for {
		select {
		case <-s.inputs.wake:
		case <-s.base.Done():
			return
		}
		for number := s.inputs.next(); number > 0 && s.base.Err() == nil; number = s.inputs.next() {
			s.inputLoaded(number, s.loadInput(number))
		}
	}
}

// loadTimeout bounds one try to load an input.
const loadTimeout = 30 * time.Second

// loadInput puts the input of an open task together as it is sent.
func (s *Session) loadInput(number uint64) error {
	ctx, cancel := context.WithTimeout(s.base, loadTimeout)
	defer cancel()
	for i, d := range s.depsOf(number) {
		if err := d.readFor(ctx); err != nil {
			return becauseOf(err, i)
		}
	}
	v, held, ok := s.inputToStore(number)
	if !ok {
		return nil
	}
	acquired, err := s.objects.externalize(ctx, &v, held)
	defer s.objects.release(acquired)
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.tracker.task(number); h != nil && err == nil {
		h.extra.loaded = &v
		s.objects.holdInput(h.number, h.inputObjects())
	}
	return err
}

// readFor reads a value for a task whose input refers to it. Unlike known, it does so for a value that was released, too:
// the task needs it.
func (h *Handle) readFor(ctx context.Context) error {
	if h.failure != nil {
		return h.failure
	}
	return h.readRecorded(ctx)
}

// depsOf returns to what the input of an open task refers.
func (s *Session) depsOf(number uint64) []*Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.tracker.task(number); h != nil {
		return h.extra.deps
	}
	return nil
}

// inputToStore returns the input of an open task with its objects held, if it is too large for a message.
func (s *Session) inputToStore(number uint64) (v task.Value, held objectKeys, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.tracker.task(number)
	if h == nil {
		return v, nil, false
	}
	if v = h.inputLocked(); v.Inline() <= s.objects.store.Bundled() {
		return v, nil, false
	}
	return v, s.objects.acquire(&v), true
}

// inputLoaded goes on with a task whose input was loaded, or could not be: what can never be loaded is the task's failure,
// anything else is tried again.
func (s *Session) inputLoaded(number uint64, err error) {
	u := s.lock()
	defer u.unlock()
	h := s.tracker.task(number)
	if h == nil {
		return
	}
	f, failed := errors.AsType[*task.Failure](err)
	switch {
	case err == nil:
		u.send(h)
	case failed:
		u.failInput(h, f)
	default:
		s.cfg.Logger.Warn("session: load the input of a task; trying again", "func", h.route.call.Func, "owner", s.reader.identity().owner, "task", h.number, "err", err)
		u.setTimer(h.number, retryDelay, loadInputAgain)
	}
}

// dependOnLocked notes to what a task's input refers, and tells event of what has no value yet. Session.mu is held.
func (s *Session) dependOnLocked(h *Handle, o *Order, event *graph.Event) {
	if len(o.Deps) == 0 {
		return
	}
	x := h.extras()
	x.deps, x.whole = o.Deps, o.Whole
	for _, d := range o.Deps {
		if d.s != nil {
			d.needed++
		}
	}
	event.Deps = s.tracker.missing(o.Deps)
}

// needsLoading reports whether I/O is needed before the task's input can be sent, where a message takes so many bytes of
// it. Session.mu is held.
func (h *Handle) needsLoading(most int) bool {
	if h.extra == nil || h.extra.loaded != nil {
		return false
	}
	bytes := len(h.content.Data)
	for _, d := range h.extra.deps {
		if d.inLog {
			return true
		}
		bytes += d.content.Inline()
	}
	return bytes > most
}

// inputLocked returns the task's input as it is sent. Session.mu is held.
func (h *Handle) inputLocked() task.Value {
	switch {
	case h.extra == nil || len(h.extra.deps) == 0:
		return h.content
	case h.extra.loaded != nil:
		return *h.extra.loaded
	case h.extra.whole:
		return h.extra.deps[0].content
	}
	return withRefs(h.content, h.extra.deps)
}

// sizeLocked returns about how many bytes the task takes in a batch, and how many its input has in objects. Session.mu is
// held.
func (h *Handle) sizeLocked() (inline int, external int64) {
	x := h.extra
	switch {
	case x == nil && h.content.External == nil:
		return len(h.content.Data) + task.SpecBytes, 0
	case x == nil || x.whole || x.loaded != nil || len(x.deps) == 0:
		v := h.inputLocked()
		return v.Inline() + task.SpecBytes, v.Size() - int64(v.Inline())
	}
	inline, all := h.content.Inline(), h.content.Size()
	for _, d := range x.deps {
		inline += d.content.Inline() + task.RefBytes
		all += d.content.Size()
	}
	return inline + task.SpecBytes, all - int64(inline)
}

// withRefs returns the value with those of the handles, which have ended well. Session.mu is held if they are a session's.
func withRefs(v task.Value, refs []*Handle) task.Value {
	if len(refs) == 0 {
		return v
	}
	external := &task.External{Object: v.Object(), Refs: make([]task.Value, len(refs))}
	for i, r := range refs {
		external.Refs[i] = r.content
	}
	v.External = external
	return v
}
