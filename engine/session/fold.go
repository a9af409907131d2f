package session

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/queues"
)

// foldStep is how many entries are folded under one hold of the lock.
const foldStep = 128

// fold reads a record of the owner's log: each entry goes through the graph, in order. It runs on the
// follower's goroutine.
func (s *Session) fold(me *self, e queues.LogEntry) {
	failpoint.Hit("fold.before")
	rec := &me.record
	err := task.DecodeRecord(e.Data, rec)
	switch {
	case errors.Is(err, task.ErrVersion) && rec.Owner == me.owner:
		s.breakWith(fmt.Errorf("session: %w: %w", errVersionUnknown, err))
		return
	case err != nil || rec.Owner != me.owner:
		s.cfg.Logger.Warn("session: skipped what is no record of mine", "owner", me.owner, "sequence", e.Sequence, "err", err)
		rec.Entries = rec.Entries[:0]
	}
	for at := 0; at < len(rec.Entries); at += foldStep {
		s.foldSome(me, e.Sequence, at, min(at+foldStep, len(rec.Entries)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	if s.trimmer.folded(e.Sequence, len(e.Data)) {
		s.nudge()
	}
	failpoint.Hit("fold.after")
}

// foldSome folds some entries of the record that was just decoded.
func (s *Session) foldSome(me *self, sequence uint64, from, to int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if me != s.me {
		return // of a name that was given up
	}
	s.writer = me.record.Writer
	s.folding = true
	for i := from; i < to; i++ {
		e := &me.record.Entries[i]
		h := s.handleOf(e, sequence, i)
		if h == nil || h.local() != nil { // nobody but this agent speaks for a child that it runs
			s.disown(e)
			continue
		}
		s.recordedOf(h, e)
	}
	s.folding = false
	s.tellAll()
	s.roomAgain()
}

// recordedOf learns from an entry of an open task, and goes on with it. mu is held.
func (s *Session) recordedOf(h *Handle, e *task.Entry) {
	if e.State == task.OK || e.State == task.Errored || e.State == task.Failed {
		h.route.cost.observe(min(e.Ran, time.Hour))
	}
	if !e.State.Final() {
		s.noteHistory(h, e)
	}
	if h.local() == nil && e.State != task.Started && e.State != task.Returned {
		s.dispatchEnded(h.route.lane)
	}
	s.step(&graph.Event{What: graph.Recorded, Task: h.number, State: e.State, Dispatch: e.Dispatch}, h, e)
}

// dispatchEnded notes that a task which was sent has ended. mu is held.
func (s *Session) dispatchEnded(l *lane) {
	before := l.window.open()
	if l.window.end(); l.window.open() < before && l.waiting.len() > 0 {
		s.rouse()
	}
}

// handleOf returns the open task that the entry is of; nil if it has its outcome, since a later entry
// changes nothing. Tasks of a named job go by their digests, since another run may have numbered them in
// another way; what this run has not asked for yet, it may ask for later. mu is held.
func (s *Session) handleOf(e *task.Entry, sequence uint64, index int) *Handle {
	number := e.Number
	if s.job != nil {
		var open bool
		if number, open = s.job.open[e.Digest]; !open {
			if e.State.Final() && s.me.record.Writer == s.me.owner && !s.job.recalled && s.job.past.Queued(e.Digest) {
				s.job.ended(e)
			}
			if e.State == task.Started && s.job.recalled { // an agent of now has it: it waits in its queue until that ends
				s.job.past.Listed(e.Digest, e.Number, e.Dispatch)
				return nil
			}
			if e.State == task.OK && e.Value.External != nil { // this run may ask for it later, and the next one, too
				v := e.Value.Clone()
				s.recorded(&v)
			}
			s.job.past.Recorded(e, s.me.record.Writer, sequence, index)
			return nil
		}
	}
	return s.openTask(number)
}

// openTask returns the task if it has no outcome yet, else nil. mu is held; once it was given up, the handle may be
// another task's.
func (s *Session) openTask(number uint64) *Handle {
	if place := s.open.Get(number); place != nil {
		return *place
	}
	return nil
}

// noteHistory keeps a note for the task's dead letter. mu is held.
func (s *Session) noteHistory(h *Handle, e *task.Entry) {
	if e.State == task.Started || e.State == task.Returned || e.Dispatch != h.Dispatch {
		return // of what is over
	}
	if h.child != nil {
		return // no dead letter is kept of it
	}
	history := s.notes[h.number]
	if last := len(history) - 1; last >= 0 && e.State == history[last].State && e.Dispatch == history[last].Dispatch {
		return // told again; and it may be refused every second, for long
	}
	if e.State == task.Lost {
		h.share = int32(parts(lostIn(s.me.record.Entries)))
	}
	if len(history) >= maxHistory { // the first and the last ones tell most
		history = slices.Delete(history, maxHistory/2, maxHistory/2+1)
	}
	s.notes[h.number] = append(history, graph.Note{
		State: e.State, Dispatch: e.Dispatch, Node: strings.Clone(s.me.record.Writer), Failure: e.Failure,
	})
}

// maxHistory bounds what is remembered of a task's tries.
const maxHistory = 64

func lostIn(entries []task.Entry) (n int) {
	for i := range entries {
		if entries[i].State == task.Lost {
			n++
		}
	}
	return n
}

// step tells the graph of an event and does what it commands. e is the entry behind a Recorded. mu is
// held.
func (s *Session) step(event *graph.Event, h *Handle, e *task.Entry) {
	s.stepOnce(event, h, e)
	s.followUp()
}

// stepOnce is step without what is left to be done after it. mu is held.
func (s *Session) stepOnce(event *graph.Event, h *Handle, e *task.Entry) {
	commands := s.graph.Step(event, s.commands[:0])
	s.commands = commands
	for i := range commands {
		c := &commands[i]
		of := h
		if c.Task != event.Task { // one that waited for this one
			of = s.openTask(c.Task)
		}
		switch c.Do {
		case graph.Dispatch:
			of.Dispatch = c.Dispatch
			s.ready(of)
		case graph.Resolve:
			s.resolve(h, e)
		case graph.Wait:
			s.wait(c.Task, c.Delay, graph.Due)
		case graph.End:
			s.blame(of, h, c)
			if of.local() != nil {
				s.followUps = append(s.followUps, *c)
				continue
			}
			s.ends = append(s.ends, *c)
			s.rouse()
		}
	}
}

// blame notes why a task is to fail, if it is for another one: the one that the event was of, or one that waited
// for it too. mu is held.
func (s *Session) blame(of, h *Handle, c *graph.Command) {
	if c.Cause == 0 {
		return
	}
	cause := h
	if c.Cause != h.number {
		cause = s.openTask(c.Cause)
	}
	s.doom(of, cause)
}

// resolve gives the task its outcome. mu is held.
func (s *Session) resolve(h *Handle, e *task.Entry) {
	s.open.Delete(h.number)
	if s.open.Len() == 0 {
		h.route.lane.window.reset()
	}
	if c := h.local(); c != nil {
		s.local--
		s.stop(c, e.Failure)
	}
	if h.child != nil {
		h.child.parent = nil
		delete(s.scarce, h.child)
	}
	history := s.notes[h.number]
	delete(s.notes, h.number)
	if s.job != nil {
		delete(s.job.open, h.digest())
		s.job.decide(h)
	}
	if h.route.template.Deadline > 0 {
		s.idleDeadline()
	}
	s.bytes -= len(h.content.Data) + task.SpecBytes
	s.markStored(h) // its entry says that it was stored, whatever became of the answer
	held := h.holdsInput()
	if e.State == task.OK {
		s.succeed(h, e)
	} else {
		s.failed(h, e, history)
	}
	if held { // what the result has of the input is held by now
		s.letInput(h)
	}
	s.letDeps(h)
}

// succeed gives the task its result. mu is held.
func (s *Session) succeed(h *Handle, e *task.Entry) {
	v := e.Value
	switch {
	case h.local() != nil: // it is ours
	case v.External != nil:
		v = v.Clone()
	case !h.borrow:
		v.Data = append([]byte(nil), v.Data...) // not to keep a whole record for one result
	}
	if v.External != nil && s.job != nil {
		s.recorded(&v)
	}
	h.end(v, nil)
	if v.External != nil {
		s.hold(h)
		h.forget()
	}
}

// failed gives the task its failure. mu is held.
func (s *Session) failed(h *Handle, e *task.Entry, history []graph.Note) {
	f := &task.Failure{Kind: task.KindError, Message: "recorded without a reason"}
	if e.Failure != nil {
		*f = *e.Failure // which others may have, too
	}
	f.Func, f.Task, f.Attempt = h.route.call.Func, task.ID{Owner: s.me.owner, Number: h.number}, int(e.Attempt)
	if s.writer != s.me.owner { // else it ran nowhere
		f.Node = strings.Clone(s.writer) // not to keep the whole record for it
	}
	if e.State == task.Failed && f.Kind != task.KindDependency && h.child == nil { // the one that failed first has its letter
		s.bury(h, f, history)
	}
	h.end(task.Value{}, f)
}
