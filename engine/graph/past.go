package graph

import (
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
)

// Past is what former runs of a named job have left: the state of each of their tasks, by digest. It is filled by listing
// the queued batches first and folding the log second. In the other order, a task that is recorded and acked in between
// would be found in neither. The zero value is empty. It is not safe for concurrent use.
type Past struct {
	finals  map[task.Digest]final
	open    map[task.Digest]*left
	history map[task.Digest][]Note // of tasks whose outcome is a failure
}

// final is the position of a task's outcome in the log.
type final struct {
	sequence uint64
	index    int32
	state    task.State
}

// left is a task without an outcome.
type left struct {
	Progress
	number  uint64
	queued  task.Dispatch // the latest of those that are queued; zero if none is
	history []Note
}

// Note is an entry that is not final, as it is in the history of a task.
type Note struct {
	State task.State
	task.Dispatch
	Node    string // the node that wrote the entry
	Failure *task.Failure
}

// Standing is the state of a task of a former run.
type Standing struct {
	State         task.State // that of the outcome; 0 = there is none yet
	Sequence      uint64     // of the record with the outcome, in the log
	Index         int        // of the outcome's entry in that record
	Number        uint64     // the task's number, if it has no outcome
	task.Dispatch            // the one that is queued, or is to be published next
	Queued        bool       // Dispatch is queued
	History       []Note
}

// Len returns how many tasks have an outcome, and how many have none.
func (p *Past) Len() (finals, open int) { return len(p.finals), len(p.open) }

// Ended returns the position of a task's outcome in the log. ended is false if there is none, or Take has returned it.
func (p *Past) Ended(d task.Digest) (sequence uint64, index int, ended bool) {
	f, ended := p.finals[d]
	return f.sequence, int(f.index), ended
}

// Lost returns how many tasks have no outcome, and a start or a loss as their last note: they were running when a run ended.
func (p *Past) Lost() (n int) {
	for _, l := range p.open {
		if l.State == task.Started || l.State == task.Lost {
			n++
		}
	}
	return n
}

// Queued reports whether a task has no outcome and is in a queued batch.
func (p *Past) Queued(d task.Digest) bool {
	l := p.open[d]
	return l != nil && l.queued != task.Dispatch{}
}

// Listed records that a queued batch has this dispatch of the task.
func (p *Past) Listed(d task.Digest, number uint64, at task.Dispatch) {
	if _, ended := p.finals[d]; ended {
		return
	}
	l := p.leftOf(d, number)
	if l.queued.Before(at) {
		l.queued = at
	}
}

func (p *Past) leftOf(d task.Digest, number uint64) *left {
	if p.open == nil {
		p.open = map[task.Digest]*left{}
	}
	l := p.open[d]
	if l == nil {
		l = &left{number: number}
		p.open[d] = l
	}
	return l
}

// Recorded folds an entry of the log: the one at this index of the record with this sequence. The first final entry is the
// outcome.
func (p *Past) Recorded(e *task.Entry, node string, sequence uint64, index int) {
	if _, ended := p.finals[e.Digest]; ended && !broken.LastWins {
		return
	}
	if e.State.Final() {
		if p.finals == nil {
			p.finals = map[task.Digest]final{}
		}
		p.finals[e.Digest] = final{sequence, int32(index), e.State}
		if l := p.open[e.Digest]; e.State == task.Failed && l != nil && len(l.history) > 0 {
			if p.history == nil {
				p.history = map[task.Digest][]Note{}
			}
			p.history[e.Digest] = l.history
		}
		delete(p.open, e.Digest)
		return
	}
	p.leftOf(e.Digest, e.Number).note(e, node)
}

func (l *left) note(e *task.Entry, node string) {
	if l.Note(e) && e.State != task.Started && e.State != task.Returned {
		l.history = append(l.history, Note{e.State, e.Dispatch, node, e.Failure})
	}
}

// Take returns the state of the task and removes it. ok is false if no former run has submitted the task.
func (p *Past) Take(d task.Digest) (s Standing, ok bool) {
	if f, ended := p.finals[d]; ended {
		s = Standing{State: f.state, Sequence: f.sequence, Index: int(f.index), History: p.history[d]}
		delete(p.finals, d)
		delete(p.history, d)
		return s, true
	}
	l := p.open[d]
	if l == nil {
		return Standing{}, false
	}
	delete(p.open, d)
	s = Standing{Number: l.number, Dispatch: l.Next(), Queued: l.Before(l.queued), History: l.history}
	if s.Queued {
		s.Dispatch = l.queued
	}
	return s, true
}
