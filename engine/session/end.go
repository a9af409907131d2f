package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
			s.step(graph.Event{What: graph.Cancel, Task: h.number}, h, nil)
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
		place := s.open.Get(c.Task)
		if place == nil {
			continue
		}
		h := *place
		e := task.Entry{Number: c.Task, Digest: h.digest, State: task.Failed, Attempt: c.Attempt, Losses: c.Losses, Failure: endFailure(c)}
		switch c.Why {
		case graph.Asked:
			e.State = task.Cancelled
			s.revoked.asked = append(s.revoked.asked, c.Task)
		case graph.TooLate:
			s.revoked.late = append(s.revoked.late, c.Task)
		case graph.Exhausted, graph.LostTooMuch: // nothing of it is under way
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

func endFailure(c graph.Command) *task.Failure {
	switch c.Why {
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

// Letter is a dead letter: a task that failed for good, with its whole history. Written by session, read
// by people.
type Letter struct {
	Task     string         `json:"task"` // owner and number
	Func     string         `json:"func"`
	Class    task.Class     `json:"class"`
	Attempt  int            `json:"attempt"`
	Losses   int            `json:"losses"`
	Failure  LetterFailure  `json:"failure"`
	History  []LetterNote   `json:"history"` // oldest first
	Input    []byte         `json:"input,omitempty"`
	Type     task.ValueType `json:"inputType"`  // of Input
	Bytes    int            `json:"inputBytes"` // of the input; Input is left out if it is too long
	Recorded time.Time      `json:"recorded"`
}

// LetterFailure is a failure in a dead letter.
type LetterFailure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Node    string `json:"node,omitempty"`
	Stack   string `json:"stack,omitempty"`
}

// LetterNote is what became of one try.
type LetterNote struct {
	State   string         `json:"state"`
	Attempt int            `json:"attempt"`
	Losses  int            `json:"losses"`
	Node    string         `json:"node,omitempty"`
	Failure *LetterFailure `json:"failure,omitempty"`
}

// Limits of a dead letter, so that it fits into a message.
const (
	letterInput = 1 << 20
	letterText  = 1 << 10 // of a failure in the history
)

func letterFailure(f *task.Failure, node string, most int) *LetterFailure {
	if f == nil {
		return nil
	}
	return &LetterFailure{Kind: f.Kind.String(), Message: task.Clip(f.Message, most), Node: node, Stack: task.Clip(f.Stack, most)}
}

// bury writes the dead letter of a task that has failed. It is sent and not waited for: the failure
// itself stands in the owner's log. mu is held.
func (s *Session) bury(h *Handle, f *task.Failure, history []graph.Note) {
	l := h.route.lane
	letter := Letter{
		Task: f.Task.String(), Func: f.Func, Class: l.class, Attempt: f.Attempt, Losses: h.losses, Bytes: len(h.input.Data),
		Type: h.input.Type, Failure: *letterFailure(f, f.Node, task.MaxText), Recorded: time.Now().UTC(), History: []LetterNote{},
	}
	for _, n := range history {
		letter.History = append(letter.History, LetterNote{n.State.String(), n.Attempt, n.Losses, n.Node, letterFailure(n.Failure, "", letterText)})
	}
	if len(h.input.Data) <= letterInput {
		letter.Input = h.input.Data
	}
	data, err := json.Marshal(letter)
	if err != nil {
		s.cfg.Logger.Error("session: write a dead letter", "task", f.Task, "err", err)
		return
	}
	s.letters = append(s.letters, deadLetter{l.class, f.Func, queues.Message{Data: data, Header: queues.Header{
		"Tm-Task": {letter.Task}, "Tm-Reason": {strings.Join(strings.Fields(task.Clip(f.Error(), letterText)), " ")},
	}}})
	s.nudge()
}

// deadLetter is a letter on its way to the log of dead letters.
type deadLetter struct {
	class task.Class
	fn    string
	m     queues.Message
}

// post appends the dead letters that wait. What cannot be appended waits on. keeping is held.
func (s *Session) post(ctx context.Context) error {
	s.mu.Lock()
	letters := s.letters
	s.letters = nil
	s.mu.Unlock()
	for n, l := range letters {
		dead, err := s.broker.OpenDead(ctx, string(l.class), l.fn)
		if err == nil {
			err = dead.Append(ctx, l.m)
		}
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.letters = append(letters[n:], s.letters...)
			return fmt.Errorf("session: keep a dead letter: %w", err)
		}
	}
	return nil
}
