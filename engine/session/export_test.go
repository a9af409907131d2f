package session

import "github.com/tidemill/tidemill/engine/task"

// Deafen ends the session's subscription to its log: it sees no record that is republished from now on, but can still read
// the log.
func (s *Session) Deafen() { s.reader.close() }

// Refusals returns how many lanes wait because the server has refused a batch.
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

// Digest returns the digest that identifies the task in a named job.
func (h *Handle) Digest() task.Digest { return h.digest() }
