package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// Cancel asks the session that owns the task for its cancellation, whichever session ctx carries, and returns when the task
// has an outcome: cancelled, or whatever was recorded first. A task that has one already is left as it is. If ctx ends
// before, the request stands all the same. If the owner was closed before the task had an outcome, the error is the one
// with which it ended: the task may still run.
func (h *Handle) Cancel(ctx context.Context) error {
	if h.s == nil {
		return nil
	}
	h.s.CancelAsync(h)
	if err := h.Wait(ctx); err != nil {
		return err
	}
	if broken := h.s.Err(); broken != nil && errors.Is(h.failure, broken) {
		return broken
	}
	return nil
}

// CancelAsync asks for the cancellation of those of the session's tasks that have no outcome, and does not wait.
func (s *Session) CancelAsync(handles ...*Handle) {
	u := s.lock()
	defer u.unlock()
	if s.broken != nil {
		return
	}
	for _, h := range handles {
		if h.s == s && !h.ended.Load() {
			u.apply(&graph.Event{What: graph.Cancel, Task: h.number}, h, nil)
		}
	}
}

// maxEnds bounds the entries of one record.
const maxEnds = 4096

// appendEnds appends the final entries that the owner itself decides on, and has agents told of tasks that
// are not to run any more. A task has its outcome when the first final entry of it is read.
func (s *Session) appendEnds(now time.Time) {
	if !s.keeper.leased(now) {
		return
	}
	s.mu.Lock()
	id := s.reader.identity()
	ends, w := s.takeEndsLocked()
	s.mu.Unlock()
	if w.Len() == 0 {
		return
	}
	id.log.Send(queues.Message{Data: w.Append(nil, id.owner, id.owner)}, func(_ uint64, err error) { s.endsStored(ends, err) })
}

// takeEndsLocked returns what is to be ended, and the entries for as much of it as has no outcome yet.
func (s *Session) takeEndsLocked() (ends []graph.Command, w task.RecordWriter) {
	t := &s.tracker
	ends, t.ends = t.ends, nil
	for n := range ends {
		if w.Len() >= maxEnds {
			ends, t.ends = ends[:n], ends[n:]
			break
		}
		h := t.task(ends[n].Task)
		if h == nil {
			continue
		}
		s.cancels.add(&ends[n])
		e := finalEntry(h, &ends[n])
		w.Add(&e)
	}
	return ends, w
}

// endsStored takes the server's answer to a record of final entries: after a refusal the graph asks again.
func (s *Session) endsStored(ends []graph.Command, err error) {
	if err == nil || errors.Is(err, queues.ErrClosed) {
		return
	}
	s.cfg.Logger.Warn("session: record that tasks are cancelled or have failed; trying again", "owner", s.Owner(), "tasks", len(ends), "err", err)
	u := s.lock()
	defer u.unlock()
	for _, c := range ends {
		u.setTimer(c.Task, retryDelay, delayOver)
	}
}

// finalEntry returns the entry of a task that its owner ends itself. Session.mu is held.
func finalEntry(h *Handle, c *graph.Command) task.Entry {
	e := task.Entry{Number: c.Task, Digest: h.digest(), State: task.Failed, Dispatch: c.Dispatch, Failure: endFailure(h, c), Unbegun: h.unbegun(c)}
	if c.Why == graph.Asked {
		e.State = task.Cancelled
	}
	return e
}

// unbegun reports whether the dispatch that the owner ends has not begun: it was not sent, or no slot of this agent has taken
// it. What was published may have begun. Session.mu is held.
func (h *submission) unbegun(c *graph.Command) bool {
	if c.Attempt != h.dispatch.Attempt { // a greater one follows a note of the one that was sent
		return c.Attempt > h.dispatch.Attempt
	}
	return !h.given
}

func endFailure(h *Handle, c *graph.Command) *task.Failure {
	switch c.Why {
	case graph.DependencyFailed:
		return h.extra.doomed
	case graph.LostTooMuch:
		return &task.Failure{Kind: task.KindLost, Message: fmt.Sprintf("its agent was lost %d times", c.Losses)}
	case graph.TooLate:
		return &LateFailure
	case graph.Asked:
		if h.extra != nil && h.extra.doomed != nil { // its parent has ended
			return h.extra.doomed
		}
		return &AskedFailure
	default:
		return &task.Failure{Kind: task.KindError, Message: fmt.Sprintf("all of its %d attempts failed", c.Attempt)}
	}
}
