package session

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/queues"
)

var errVersionUnknown = errors.New("the log has records of a newer version")

// foldStep is how many entries are folded under one hold of the lock.
const foldStep = 128

// fold applies a record of the owner's log, its entries in order. It runs on the follower's goroutine.
func (s *Session) fold(id *identity, e queues.LogEntry) {
	failpoint.Hit("fold.before")
	rec := &id.record
	err := task.DecodeRecord(e.Data, rec)
	switch {
	case errors.Is(err, task.ErrVersion) && rec.Owner == id.owner:
		s.breakWith(fmt.Errorf("session: %w: %w", errVersionUnknown, err))
		return
	case err != nil || rec.Owner != id.owner:
		s.cfg.Logger.Warn("session: skipped a message of the log that is no record of this owner", "owner", id.owner, "sequence", e.Sequence, "err", err)
		rec.Entries = rec.Entries[:0]
	}
	for at := 0; at < len(rec.Entries); at += foldStep {
		s.foldSome(id, e.Sequence, at, min(at+foldStep, len(rec.Entries)))
	}
	if s.reader.folded(id, e.Sequence, len(e.Data)) {
		s.keeper.wake.Set()
	}
	failpoint.Hit("fold.after")
}

// foldSome folds some entries of the record that was just decoded.
func (s *Session) foldSome(id *identity, sequence uint64, from, to int) {
	u := s.lock()
	defer u.unlock()
	if id != s.reader.identity() {
		return // the session has another name by now
	}
	u.announced = &id.announced
	rec := recorded{writer: id.record.Writer}
	for i := from; i < to; i++ {
		rec.Entry = &id.record.Entries[i]
		if rec.State == task.Lost && rec.lost == 0 {
			rec.lost = lostIn(id.record.Entries)
		}
		s.foldOne(&u, id, &rec, logPosition{sequence, i})
	}
	u.announced.flush()
	s.tracker.room.freed.Wake()
}

// foldOne folds one entry, which stands at that place in the log.
func (s *Session) foldOne(u *update, id *identity, rec *recorded, at logPosition) {
	number := rec.Number
	if s.resume != nil {
		var open bool
		if number, open = s.resume.open[rec.Digest]; !open {
			s.foldUnasked(id, rec, at)
			return
		}
	}
	h := s.tracker.task(number)
	if h == nil || h.localChild() != nil { // it has its outcome; and only this agent decides on a child that it runs
		s.disown(rec.Entry)
		return
	}
	u.applyEntry(h, rec)
}

// foldUnasked folds an entry of a task that this run of the job has not asked for, yet or any more.
func (s *Session) foldUnasked(id *identity, rec *recorded, at logPosition) {
	if rec.State == task.OK && rec.Value.External != nil {
		v := rec.Value.Clone()
		s.objects.holdByLog(&v) // this run may ask for it later, and so may the next one
	}
	s.resume.note(rec, id.owner, at)
}

// applyEntry learns from an entry of an open task, and applies it.
func (u *update) applyEntry(h *Handle, rec *recorded) {
	if rec.State == task.OK || rec.State == task.Errored || rec.State == task.Failed {
		h.route.cost.observe(min(rec.Ran, time.Hour))
	}
	if !rec.State.Final() {
		u.s.tracker.noteHistory(h, rec)
	}
	if rec.State == task.Refused && rec.Dispatch == h.dispatch {
		h.given = false
	}
	if h.localChild() == nil && rec.State != task.Started && rec.State != task.Returned {
		u.publish = h.route.lane.dispatchEnded() || u.publish
	}
	u.apply(&graph.Event{What: graph.Recorded, Task: h.number, State: rec.State, Dispatch: rec.Dispatch}, h, rec)
}

// noteHistory keeps a note for the task's dead letter. Children have none.
func (t *tracker) noteHistory(h *Handle, rec *recorded) {
	if rec.State == task.Started || rec.State == task.Returned || rec.Dispatch != h.dispatch || h.child != nil {
		return
	}
	if t.history.add(h.number, graph.Note{State: rec.State, Dispatch: rec.Dispatch, Node: strings.Clone(rec.writer), Failure: rec.Failure}) && rec.State == task.Lost {
		h.share = int32(parts(rec.lost))
	}
}

func lostIn(entries []task.Entry) (n int) {
	for i := range entries {
		if entries[i].State == task.Lost {
			n++
		}
	}
	return n
}

// resolve gives a task its outcome.
func (u *update) resolve(h *Handle, rec *recorded) {
	s := u.s
	history := s.tracker.remove(h)
	if s.tracker.open.Len() == 0 {
		h.route.lane.window.reset()
	}
	if h.child != nil {
		if runs := s.children.remove(h.child); runs != nil {
			u.aborts = append(u.aborts, aborted{runs.Self, rec.Failure})
			u.cancelChildren(runs, nil, "has ended")
		}
	}
	if s.resume != nil {
		s.resume.decide(h)
	}
	held := h.holdsInput()
	if rec.State == task.OK {
		u.succeed(h, rec)
	} else {
		u.fail(h, rec, history)
	}
	if held { // what the result has of the input is held by now
		s.objects.releaseInput(h.number)
	}
	h.releaseDeps()
}

// succeed gives a task its result.
func (u *update) succeed(h *Handle, rec *recorded) {
	s, v := u.s, rec.Value
	switch {
	case h.localChild() != nil: // it is in memory of our own
	case v.External != nil:
		v = v.Clone()
	case !h.borrow:
		v.Data = append([]byte(nil), v.Data...) // not to retain a whole record for one result
	}
	if v.External == nil {
		h.end(&v, nil, u.announced)
		return
	}
	if s.resume != nil {
		s.objects.holdByLog(&v)
	}
	h.end(&v, nil, u.announced)
	h.holdObjects()
	h.forgetLocked()
}

// fail gives a task its failure.
func (u *update) fail(h *Handle, rec *recorded, history []graph.Note) {
	s, owner := u.s, u.s.reader.identity().owner
	f := &task.Failure{Kind: task.KindError, Message: "recorded without a reason"}
	if rec.Failure != nil {
		*f = *rec.Failure // which others may have, too
	}
	f.Func, f.Task, f.Attempt = h.route.call.Func, task.ID{Owner: owner, Number: h.number}, rec.Begun()
	if rec.writer != owner { // otherwise it ran nowhere
		f.Node = strings.Clone(rec.writer) // not to retain the whole record for it
	}
	if rec.State == task.Failed && f.Kind != task.KindDependency && h.child == nil { // a dependency has its own dead letter
		s.letters.add(deadLetter{class: h.route.lane.class, input: h.content, history: history, failure: f, at: time.Now()})
	}
	h.end(&task.Value{}, f, u.announced)
}

// releaseDeps ends the task's need of what its input refers to. Session.mu is held.
func (h *Handle) releaseDeps() {
	if h.extra == nil {
		return
	}
	for _, d := range h.extra.deps {
		if d.s != nil {
			d.needed--
			d.forgetLocked()
		}
	}
	h.extra.deps, h.extra.loaded = nil, nil
}
