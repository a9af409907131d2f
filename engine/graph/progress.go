package graph

import "github.com/tidemill/tidemill/engine/task"

// Progress is how far one task has come by the notes in its owner's log, folded by a reader that did not dispatch the
// task itself: the next run of a named job, or an agent that has a batch from before its server's restart. (The owner
// itself knows the newest dispatch: see [Graph].) The zero value is a task without a note.
type Progress struct {
	task.Dispatch            // of the newest note
	State         task.State // what that said; 0 = there is none
}

// Note folds a note. It reports whether the note says something new: notes of earlier dispatches, and what comes behind
// the end of a dispatch, say nothing.
func (p *Progress) Note(e *task.Entry) bool {
	if e.Before(p.Dispatch) || e.Dispatch == p.Dispatch && (p.ended() || e.State == p.State) {
		return false
	}
	p.Dispatch, p.State = e.Dispatch, e.State
	return true
}

// ended reports whether the newest note ends its dispatch. A start and a refusal do not.
func (p *Progress) ended() bool { return p.State == task.Errored || p.State == task.Lost }

// Over reports whether dispatch d has ended, so that another copy of it need not run.
func (p *Progress) Over(d task.Dispatch) bool {
	return d.Before(p.Dispatch) || d == p.Dispatch && p.ended()
}

// StartedLast reports whether the start of dispatch d is the last that was noted: if its agent is gone, d is lost.
func (p *Progress) StartedLast(d task.Dispatch) bool {
	return p.State == task.Started && d == p.Dispatch
}

// Next returns the dispatch that is to follow if no agent has the task any more: then a start without an end is a loss.
func (p *Progress) Next() task.Dispatch {
	if p.State == task.Started {
		return p.After(task.Lost)
	}
	return p.After(p.State)
}
