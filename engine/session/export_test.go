package session

import "github.com/tidemill/tidemill/engine/task"

// Deafen makes the session miss what its log tells from now on; it still may ask.
func (s *Session) Deafen() { s.reader.close() }

// Refusals returns how many lanes wait after a refusal.
func (s *Session) Refusals() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.outbox.order {
		if !l.retry.IsZero() {
			n++
		}
	}
	return n
}

// Digest returns what a named job calls the task by.
func (h *Handle) Digest() task.Digest { return h.digest() }
