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

// DeadLetter is a dead letter: a task that failed for good, with its whole history. Written by session, read
// by people.
type DeadLetter struct {
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
	letter, err := s.letter(l.class, h.content, f, history)
	if err != nil {
		s.cfg.Logger.Error("session: write a dead letter", "task", f.Task, "err", err)
		return
	}
	s.letters = append(s.letters, letter)
	s.nudge()
}

// letter writes a dead letter.
func (s *Session) letter(class task.Class, in task.Value, f *task.Failure, history []graph.Note) (deadLetter, error) {
	letter := DeadLetter{
		Task: f.Task.String(), Func: f.Func, Class: class, Attempt: f.Attempt, Bytes: len(in.Data),
		Type: in.Type, Failure: *letterFailure(f, f.Node, task.MaxText), Recorded: time.Now().UTC(), History: []LetterNote{},
	}
	for _, n := range history {
		if n.State == task.Lost {
			letter.Losses = int(n.Losses) + 1
		}
		letter.History = append(letter.History, LetterNote{n.State.String(), int(n.Attempt), int(n.Losses), n.Node, letterFailure(n.Failure, "", letterText)})
	}
	if len(in.Data) <= min(letterInput, s.maxValue/4) {
		letter.Input = in.Data
	}
	data, err := json.Marshal(letter)
	return deadLetter{class: class, fn: f.Func, m: queues.Message{Data: data, Header: queues.Header{
		letterTask: {letter.Task}, "Tm-Reason": {strings.Join(strings.Fields(task.Clip(f.Error(), letterText)), " ")},
	}}}, err
}

// letterTask is the header that names a dead letter's task.
const letterTask = "Tm-Task"

// deadLetter is a letter on its way to the log of dead letters, or what it is made of: a run that ended before
// it had kept one has left only the failure, in its log.
type deadLetter struct {
	class task.Class
	fn    string
	m     queues.Message // nil Data = to be made

	input   task.Value
	stands  standing // where the failure is recorded
	history []graph.Note
}

// seeLetter has a look whether the dead letter is there of a task that failed in a former run. mu is held.
func (s *Session) seeLetter(h *Handle, in task.Value, failed graph.Standing) {
	in.Data = append([]byte(nil), in.Data...)
	s.letters = append(s.letters, deadLetter{
		class: h.route.lane.class, fn: h.route.call.Func, input: in, history: failed.History,
		stands: standing{failed.Sequence, failed.Index},
	})
	s.nudge()
}

// post appends the dead letters that wait. What cannot be appended waits on. keeping is held.
func (s *Session) post(ctx context.Context) error {
	s.mu.Lock()
	letters := s.letters
	s.letters = nil
	s.mu.Unlock()
	for n, l := range letters {
		err := s.postOne(ctx, l)
		if errors.Is(err, queues.ErrTooLarge) { // it can never be kept; the failure itself is recorded
			s.cfg.Logger.Error("session: a dead letter is too large", "task", l.m.Header.Get(letterTask), "bytes", len(l.m.Data))
			continue
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

func (s *Session) postOne(ctx context.Context, l deadLetter) error {
	dead, err := s.broker.OpenDead(ctx, string(l.class), l.fn)
	if err != nil {
		return err
	}
	if l.m.Data == nil {
		if l, err = s.makeLetter(ctx, dead, l); err != nil || l.m.Data == nil {
			return err
		}
	}
	return dead.Append(ctx, l.m)
}

// makeLetter writes the letter of a task that failed in a former run, unless that run had kept it.
func (s *Session) makeLetter(ctx context.Context, dead *queues.Log, l deadLetter) (deadLetter, error) {
	me := s.self()
	rec, err := s.job.values.record(ctx, me.log, l.stands.sequence)
	if err != nil || l.stands.index >= len(rec.Entries) || rec.Entries[l.stands.index].Failure == nil {
		return l, err
	}
	e := &rec.Entries[l.stands.index]
	f := *e.Failure
	f.Func, f.Task, f.Attempt = l.fn, task.ID{Owner: me.owner, Number: e.Number}, int(e.Attempt)
	if rec.Writer != me.owner {
		f.Node = rec.Writer
	}
	if kept, err := s.lettersKept(ctx, dead, l); err != nil || kept[f.Task.String()] {
		return l, err
	}
	return s.letter(l.class, l.input, &f, l.history)
}

// lettersKept returns of which tasks of a class and function former runs have kept letters. keeping is held.
func (s *Session) lettersKept(ctx context.Context, dead *queues.Log, l deadLetter) (map[string]bool, error) {
	key := string(l.class) + "." + l.fn
	kept := s.job.letters[key]
	if kept == nil {
		kept = &lettersKept{tasks: map[string]bool{}}
		s.job.letters[key] = kept
	}
	if kept.all {
		return kept.tasks, nil
	}
	for there, err := range dead.Read(ctx, kept.upTo) { // it may take more than one go
		if err != nil {
			return nil, err
		}
		kept.tasks[there.Header.Get(letterTask)] = true
		kept.upTo = there.Sequence
	}
	kept.all = true
	return kept.tasks, nil
}

// lettersKept are the dead letters of one class and function that former runs have kept.
type lettersKept struct {
	tasks map[string]bool
	upTo  uint64 // read so far
	all   bool
}
