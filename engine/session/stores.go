package session

import "context"

// stores counts the tasks whose first dispatch the server has not acknowledged, for Flush. Session.mu guards it.
type stores struct {
	unstored int      // tasks
	calls    uint32   // of Flush, ever
	waiting  []*flush // calls of Flush that wait
}

// flush is one call of Flush.
type flush struct {
	call uint32 // its number; tasks that were submitted before have a smaller one
	left int    // tasks submitted before that are not stored
	done chan struct{}
}

// begin counts a new task. One that is stored already, or is not to be dispatched yet, counts as stored.
func (s *stores) begin(h *Handle, stored bool) {
	h.flushCalls, h.stored = s.calls, stored
	if !stored {
		s.unstored++
	}
}

// stored notes that a task's first dispatch is acknowledged, or needs to be no more.
func (s *stores) stored(h *Handle) {
	if h.stored {
		return
	}
	h.stored = true
	s.unstored--
	kept := s.waiting[:0]
	for _, f := range s.waiting {
		if h.flushCalls < f.call {
			f.left--
		}
		if f.left > 0 {
			kept = append(kept, f)
		} else {
			close(f.done)
		}
	}
	s.waiting = kept
}

// flush returns a call of Flush whose channel is closed when all tasks submitted before are stored; nil if they are.
func (s *stores) flush() *flush {
	if s.unstored == 0 {
		return nil
	}
	s.calls++
	f := &flush{call: s.calls, left: s.unstored, done: make(chan struct{})}
	s.waiting = append(s.waiting, f)
	return f
}

// endAll ends all calls of Flush.
func (s *stores) endAll() {
	for _, f := range s.waiting {
		close(f.done)
	}
	s.waiting = nil
}

// Flush returns when every task submitted before is stored in its queue. It returns the context's error
// if that ends first, and the session's if it is closed.
func (s *Session) Flush(ctx context.Context) error {
	s.mu.Lock()
	err, f := s.broken, (*flush)(nil)
	if err == nil {
		f = s.tracker.stores.flush()
	}
	s.mu.Unlock()
	if f == nil {
		return err
	}
	defer yieldIn(ctx)()
	select {
	case <-f.done:
		return s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
