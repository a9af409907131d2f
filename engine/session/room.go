package session

import (
	"errors"

	"github.com/tidemill/tidemill/internal/wait"
)

// Bounds on the open tasks of a session: Submit waits while one of them is reached.
const (
	DefaultPending = 1_000_000
	pendingBytes   = 256 << 20 // of inputs, with what a spec adds to each
)

// ErrPendingFull says that the context ended while Submit waited for other tasks to end.
var ErrPendingFull = errors.New("too many pending tasks")

// room bounds the open tasks of a session. Session.mu guards it.
type room struct {
	bytes int            // of the inputs of open tasks
	limit int            // bytes, whatever Pending says: records must find room in the same server
	freed wait.Broadcast // when tasks may have ended, but for children that this agent runs
}

// has reports whether another task may be open beside so many, where a template allows so many pending ones (0 =
// DefaultPending, negative = any number).
func (r *room) has(open, pending int) bool {
	switch {
	case pending < 0:
		return !r.full()
	case pending == 0:
		pending = DefaultPending
	}
	return open < pending && r.bytes < min(pendingBytes, r.limit)
}

// full reports whether inputs take as many bytes as they ever may.
func (r *room) full() bool { return r.bytes >= r.limit }
