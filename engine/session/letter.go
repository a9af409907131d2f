package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// DeadLetter is a task that failed for good, with its whole history, as it stands in the log of dead letters. Written by
// session, read by people.
type DeadLetter struct {
	Task     string         `json:"task"` // owner and number
	Func     string         `json:"func"`
	Class    task.Class     `json:"class"`
	Attempt  int            `json:"attempt"` // the last that began; 0 if none has
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

	Errors       []task.ErrorInfo `json:"errors,omitempty"` // not in the history
	NonRetryable bool             `json:"nonRetryable,omitempty"`
}

// LetterNote is what became of one attempt.
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

// letterTask is the header that names a dead letter's task.
const letterTask = "Tm-Task"

// deadLetters are the dead letters that are to be written: the keeper appends them to their logs. The failures themselves
// stand in the owner's log, so that nobody waits for a dead letter.
type deadLetters struct {
	broker *queues.Broker
	reader *logReader // of failures that former runs have recorded
	keeper wait.Signal
	log    *slog.Logger

	mu      sync.Mutex   // taken after Session.mu
	pending []deadLetter // guarded by mu

	kept map[string]*lettersKept // by class and function; only under keeper.lock
}

// deadLetter is one that is to be written: of a task of this run, whose failure is given, or of one of a former run of the
// job, whose failure stands in the log. That run may have ended before it had written the dead letter.
type deadLetter struct {
	class   task.Class
	input   task.Value
	history []graph.Note
	failure *task.Failure // nil: it is to be read from the log
	at      time.Time     // when it failed; zero = not known

	fn         string      // of a task of a former run
	recordedAt logPosition // where its failure is recorded
}

// add has a dead letter written.
func (d *deadLetters) add(letters ...deadLetter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending = append(d.pending, letters...)
	d.keeper.Set()
}

// addFormer has a dead letter written of a task that failed in a former run, unless that run has. Session.mu is held.
func (d *deadLetters) addFormer(h *Handle, in task.Value, failed graph.Standing) {
	in.Data = append([]byte(nil), in.Data...)
	d.add(deadLetter{
		class: h.route.lane.class, input: in, history: failed.History,
		fn: h.route.call.Func, recordedAt: logPosition{failed.Sequence, failed.Index},
	})
}

func (d *deadLetters) take() (letters []deadLetter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	letters, d.pending = d.pending, nil
	return letters
}

// flush writes what waits. What could not be written waits on, and keeps none of the others. It returns the first error.
func (d *deadLetters) flush(ctx context.Context) error {
	left, err := doEach(ctx, d.take(), func(l deadLetter) error {
		if err := d.write(ctx, l); err != nil {
			return fmt.Errorf("of a task of %s: %w", l.function(), err)
		}
		return nil
	})
	d.putBack(left)
	if err != nil {
		return fmt.Errorf("session: write a dead letter: %w", err)
	}
	return nil
}

func (d *deadLetters) putBack(letters []deadLetter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending = append(letters, d.pending...)
}

// function returns the name of the task's function.
func (l *deadLetter) function() string {
	if l.failure != nil {
		return l.failure.Func
	}
	return l.fn
}

func (d *deadLetters) write(ctx context.Context, l deadLetter) error {
	dead, err := d.broker.OpenDead(ctx, string(l.class), l.function())
	if err == nil && l.failure == nil {
		l.failure, err = d.unwritten(ctx, dead, l)
	}
	if err != nil || l.failure == nil {
		return err
	}
	m, err := l.message(d.broker.MaxPayload())
	if err != nil {
		d.log.Error("session: encode a dead letter", "func", l.failure.Func, "task", l.failure.Task, "err", err)
		return nil // another try would fail as well
	}
	err = dead.Append(ctx, m)
	if errors.Is(err, queues.ErrTooLarge) { // it can never be written; the failure itself is recorded
		d.log.Error("session: a dead letter is too large and is not written", "func", l.failure.Func, "task", l.failure.Task, "bytes", len(m.Data), "err", err)
		return nil
	}
	return err
}

// unwritten returns the failure of a task of a former run, nil if that run has written its dead letter.
func (d *deadLetters) unwritten(ctx context.Context, dead *queues.Log, l deadLetter) (*task.Failure, error) {
	rec, err := d.reader.record(ctx, l.recordedAt.sequence)
	if err != nil || l.recordedAt.index >= len(rec.Entries) || rec.Entries[l.recordedAt.index].Failure == nil {
		return nil, err
	}
	e, owner := &rec.Entries[l.recordedAt.index], d.reader.identity().owner
	f := *e.Failure
	f.Func, f.Task, f.Attempt = l.fn, task.ID{Owner: owner, Number: e.Number}, e.Begun()
	if rec.Writer != owner {
		f.Node = rec.Writer
	}
	kept, err := d.keptOf(ctx, dead, l)
	if err != nil || kept[f.Task.String()] {
		return nil, err
	}
	return &f, nil
}

// lettersKept are the dead letters of one class and function that former runs have written.
type lettersKept struct {
	tasks map[string]bool
	upTo  uint64 // sequence read so far
	all   bool
}

// keptOf returns of which tasks of a class and function former runs have written dead letters.
func (d *deadLetters) keptOf(ctx context.Context, dead *queues.Log, l deadLetter) (map[string]bool, error) {
	key := string(l.class) + "." + l.fn
	kept := d.kept[key]
	if kept == nil {
		kept = &lettersKept{tasks: map[string]bool{}}
		d.kept[key] = kept
	}
	if kept.all {
		return kept.tasks, nil
	}
	for there, err := range dead.Read(ctx, kept.upTo) { // it may take more than one call
		if err != nil {
			return nil, err
		}
		kept.tasks[there.Header.Get(letterTask)] = true
		kept.upTo = there.Sequence
	}
	kept.all = true
	return kept.tasks, nil
}

// message returns the dead letter as a message.
func (l deadLetter) message(maxPayload int) (queues.Message, error) {
	f := l.failure
	if l.at.IsZero() {
		l.at = time.Now()
	}
	letter := DeadLetter{
		Task: f.Task.String(), Func: f.Func, Class: l.class, Attempt: f.Attempt, Bytes: len(l.input.Data),
		Type: l.input.Type, Failure: *letterFailure(f, f.Node, task.MaxText), Recorded: l.at.UTC(), History: []LetterNote{},
	}
	letter.Failure.Errors = f.Errors
	for _, n := range l.history {
		if n.State == task.Lost {
			letter.Losses = int(n.Losses) + 1
		}
		letter.History = append(letter.History, LetterNote{n.State.String(), int(n.Attempt), int(n.Losses), n.Node, letterFailure(n.Failure, "", letterText)})
	}
	if len(l.input.Data) <= min(letterInput, values.Max(maxPayload)/4) { // base64 and the history come on top
		letter.Input = l.input.Data
	}
	data, err := json.Marshal(letter)
	return queues.Message{Data: data, Header: queues.Header{
		letterTask: {letter.Task}, "Tm-Reason": {task.OneLine(f.Error(), letterText)},
	}}, err
}

func letterFailure(f *task.Failure, node string, most int) *LetterFailure {
	if f == nil {
		return nil
	}
	return &LetterFailure{
		Kind: f.Kind.String(), Message: task.Clip(f.Message, most), Node: node, Stack: task.Clip(f.Stack, most), NonRetryable: f.NonRetryable,
	}
}
