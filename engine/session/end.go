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

// Cancel asks for the cancellation of tasks and returns when each has an outcome: cancelled, or whatever
// was recorded first. A task that has one already is left as it is. If ctx ends before, the request stands
// all the same.
func (s *Session) Cancel(ctx context.Context, handles ...*Handle) error {
	s.Revoke(handles...)
	for _, h := range handles {
		if err := h.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Revoke is Cancel without the waiting.
func (s *Session) Revoke(handles ...*Handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return
	}
	for _, h := range handles {
		if h.s == s && !h.ended.Load() {
			s.step(&graph.Event{What: graph.Cancel, Task: h.number}, h, nil)
		}
	}
}

// appendEnds appends the last entries that the owner itself decides on, and has agents told of tasks that
// are not to run any more. A task has its outcome when the first final entry of it is read.
func (s *Session) appendEnds() {
	s.mu.Lock()
	if len(s.ends) == 0 || !time.Now().Before(s.until) {
		s.mu.Unlock()
		return
	}
	ends, me := s.ends, s.me
	s.ends = nil
	var w task.RecordWriter
	for n, c := range ends {
		if w.Len() >= maxEnds {
			s.ends = ends[n:]
			ends = ends[:n]
			break
		}
		h := s.openTask(c.Task)
		if h == nil {
			continue
		}
		e := lastEntry(h, c)
		switch c.Why {
		case graph.Asked:
			s.revoked.asked = append(s.revoked.asked, c.Task)
		case graph.TooLate:
			s.revoked.late = append(s.revoked.late, c.Task)
		case graph.Exhausted, graph.LostTooMuch, graph.DependencyFailed: // nothing of it is under way
		}
		w.Add(&e)
	}
	s.nudge()
	s.mu.Unlock()
	if w.Len() == 0 {
		return
	}
	me.log.Send(queues.Message{Data: w.Append(nil, me.owner, me.owner)}, func(_ uint64, err error) { s.endsStored(ends, err) })
}

// maxEnds bounds the entries of one record.
const maxEnds = 4096

// lastEntry is what the owner says of a task that it ends itself. mu is held.
func lastEntry(h *Handle, c graph.Command) task.Entry {
	e := task.Entry{Number: c.Task, Digest: h.digest(), State: task.Failed, Dispatch: c.Dispatch, Failure: endFailure(h, c)}
	if c.Why == graph.Asked {
		e.State = task.Cancelled
	}
	return e
}

func endFailure(h *Handle, c graph.Command) *task.Failure {
	switch c.Why {
	case graph.DependencyFailed:
		return h.rare.doom
	case graph.LostTooMuch:
		return &task.Failure{Kind: task.KindLost, Message: fmt.Sprintf("its agent was lost %d times", c.Losses)}
	case graph.TooLate:
		return &LateFailure
	case graph.Asked:
		return &AskedFailure
	default:
		return &task.Failure{Kind: task.KindError, Message: fmt.Sprintf("all of its %d attempts failed", c.Attempt)}
	}
}

// endsStored takes the answer to a record of last entries: after a refusal the graph asks again.
func (s *Session) endsStored(ends []graph.Command, err error) {
	if err == nil || errors.Is(err, queues.ErrClosed) {
		return
	}
	s.cfg.Logger.Warn("session: record the end of tasks; trying again", "tasks", len(ends), "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range ends {
		s.wait(c.Task, refusedAgain, graph.Due)
	}
}
