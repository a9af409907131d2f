package graph

import "github.com/tidemill/tidemill/engine/task"

// Progress is how far one task has come, by the notes in its owner's log. It is folded by readers that have not dispatched
// the task themselves: the next run of a named job, or an agent that gets a batch from before a restart of the server.
// (The owner itself knows the newest dispatch: see [Graph].) The zero value is a task without a note. It is not safe for
// concurrent use.
type Progress struct {
	task.Dispatch            // of the newest note
	State         task.State // of that note; 0 = there is none
}

// Note folds a note. It reports whether the note changed anything: notes of earlier dispatches, and notes behind the end of
// their dispatch, do not.
func (p *Progress) Note(e *task.Entry) bool {
	if e.Before(p.Dispatch) || e.Dispatch == p.Dispatch && (p.ended() || e.State == p.State) {
		return false
	}
	p.Dispatch, p.State = e.Dispatch, e.State
	return true
}

// ended reports whether the newest note ends its dispatch. A start, a refusal and a return do not.
func (p *Progress) ended() bool { return p.State == task.Errored || p.State == task.Lost }

// Over reports whether dispatch d has ended, so that another copy of it need not run.
func (p *Progress) Over(d task.Dispatch) bool {
	return d.Before(p.Dispatch) || d == p.Dispatch && p.ended()
}

// StartedLast reports whether the newest note is the start of dispatch d. If its agent is gone, d is lost.
func (p *Progress) StartedLast(d task.Dispatch) bool {
	return p.State == task.Started && d == p.Dispatch
}

// Next returns the dispatch that follows if no agent has the task any more: a start without an end is a loss then.
func (p *Progress) Next() task.Dispatch {
	if p.State == task.Started {
		return p.After(task.Lost)
	}
	return p.After(p.State)
}
