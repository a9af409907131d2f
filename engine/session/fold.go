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

// foldStep is how many entries are folded under one hold of the lock.
const foldStep = 128

// fold reads a record of the owner's log: each entry goes through the graph, in order. It runs on the
// follower's goroutine.
func (s *Session) fold(e queues.LogEntry) {
	rec := &s.record
	err := task.DecodeRecord(e.Data, rec)
	switch {
	case errors.Is(err, task.ErrVersion) && rec.Owner == s.cfg.Owner:
		s.breakWith(fmt.Errorf("session: %w: %w", errVersionUnknown, err))
		return
	case err != nil || rec.Owner != s.cfg.Owner:
		s.cfg.Logger.Warn("session: skipped what is no record of mine", "owner", s.cfg.Owner, "sequence", e.Sequence, "err", err)
		rec.Entries = rec.Entries[:0]
	}
	for entries := rec.Entries; len(entries) > 0; {
		n := min(foldStep, len(entries))
		s.foldSome(entries[:n])
		entries = entries[n:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	if first := s.trimmer.folded(e.Sequence, len(e.Data)); first || s.trimmer.pressing() {
		s.rouse()
	}
}

func (s *Session) foldSome(entries []task.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		place := s.open.Get(e.Number)
		if place == nil {
			continue // it has its outcome: a later entry changes nothing
		}
		h := *place
		if e.State == task.OK || e.State == task.Errored || e.State == task.Failed {
			h.route.cost.observe(min(e.Ran, time.Hour))
		}
		s.step(graph.Event{What: graph.Recorded, Task: e.Number, State: e.State, Attempt: e.Attempt, Losses: e.Losses}, h, e)
	}
	s.roomAgain()
}

// step tells the graph of an event and does what it commands. e is the entry behind a Recorded. mu is
// held.
func (s *Session) step(event graph.Event, h *Handle, e *task.Entry) {
	s.commands = s.graph.Step(event, s.commands[:0])
	for _, c := range s.commands {
		switch c.Do {
		case graph.Dispatch:
			h.attempt, h.losses = c.Attempt, c.Losses
			s.enqueue(h)
		case graph.Resolve:
			s.resolve(h, e)
		case graph.Wait:
			s.wait(c.Task, c.Delay)
		case graph.Fail:
			s.appendFailure(c.Task, c.Attempt, c.Losses)
		}
	}
}

// resolve gives the task its outcome. mu is held.
func (s *Session) resolve(h *Handle, e *task.Entry) {
	s.open.Delete(h.number)
	s.bytes -= len(h.input.Data) + task.SpecBytes
	s.markStored(h) // its entry says that it was stored, whatever became of the answer
	if e.State == task.OK {
		v := e.Value
		if !h.borrow {
			v.Data = append([]byte(nil), v.Data...) // not to keep a whole record for one result
		}
		h.end(v, nil)
		return
	}
	f := e.Failure
	if f == nil {
		f = &task.Failure{Kind: task.KindError, Message: "recorded without a reason"}
	}
	f.Func, f.Task, f.Attempt = h.route.call.Func, task.ID{Owner: s.cfg.Owner, Number: h.number}, e.Attempt
	if s.record.Writer != s.cfg.Owner { // else it ran nowhere
		f.Node = strings.Clone(s.record.Writer) // not to keep the whole record for it
	}
	h.end(task.Value{}, f)
}

// appendFailure records a last failure of a task that has used up a budget. The task has its outcome when
// the record is read.
func (s *Session) appendFailure(number uint64, attempt, losses int) {
	f := &task.Failure{Kind: task.KindLost, Message: fmt.Sprintf("its agent was lost %d times", losses)}
	if losses < graph.MaxLosses {
		f = &task.Failure{Kind: task.KindError, Message: fmt.Sprintf("all of its %d attempts failed", attempt)}
	}
	var w task.RecordWriter
	w.Add(&task.Entry{Number: number, State: task.Failed, Attempt: attempt, Losses: losses, Failure: f})
	m := queues.Message{Data: w.Append(nil, s.cfg.Owner, s.cfg.Owner)}
	s.log.Send(m, func(_ uint64, err error) {
		if err == nil || errors.Is(err, queues.ErrClosed) {
			return
		}
		s.cfg.Logger.Warn("session: record a failure; trying again", "task", number, "err", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.wait(number, refusedAgain) // the graph will ask again
	})
}

// trimmer knows how far the log was read, and tells it in the table of sessions: an agent trims.
type trimmer struct {
	table *queues.Table // only the run loop

	read  uint64    // guarded by Session.mu; the sequence folded last
	bytes int       // guarded by Session.mu; folded since told
	told  uint64    // guarded by Session.mu
	at    time.Time // guarded by Session.mu; when it was told
}

// Trimming is told of every second at most, and sooner when much was read.
const (
	trimEvery = time.Second
	trimBytes = 8 << 20
)

// folded notes that a record was read, and reports whether it is the first since trimming was told.
func (t *trimmer) folded(sequence uint64, bytes int) (first bool) {
	first = t.read <= t.told
	t.read = sequence
	t.bytes += bytes
	return first
}

func (t *trimmer) pressing() bool { return t.bytes >= trimBytes }

// next returns when to tell; ok is false if there is nothing new.
func (t *trimmer) next() (at time.Time, ok bool) { return t.at.Add(trimEvery), t.read > t.told }

// trim tells how far the log may be trimmed, if it is time.
func (s *Session) trim() {
	now := time.Now()
	s.mu.Lock()
	t := &s.trimmer
	at, ok := t.next()
	if !ok || now.Before(at) && !t.pressing() {
		s.mu.Unlock()
		return
	}
	read := t.read
	t.told, t.bytes, t.at = read, 0, now
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.base, trimEvery)
	defer cancel()
	row, err := json.Marshal(Row{Trimmed: read})
	if err == nil {
		_, err = t.table.Put(ctx, s.cfg.Owner, row)
	}
	if err != nil && s.base.Err() == nil {
		s.cfg.Logger.Warn("session: tell how far the log was read", "err", err)
	}
}

// Row is a session's row in the table of sessions. Written by session, read by nodeagent (trim).
type Row struct {
	Trimmed uint64 `json:"trimmed"` // the log is read up to and with this sequence, by all who will read it
}
