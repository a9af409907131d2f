package graph

import (
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
)

// Past is what former runs of a named job have left: their tasks by digest, and how each stands. It is
// filled by listing what is queued, and then by folding the log. The other order would take a task that
// is recorded in between for one that was never submitted. The zero value is empty. It is not safe for
// concurrent use.
type Past struct {
	finals  map[task.Digest]final
	open    map[task.Digest]*left
	history map[task.Digest][]Note // of tasks that failed for good
}

// final says where a task's outcome stands.
type final struct {
	sequence uint64
	index    int32
	state    task.State
}

// left is a task without an outcome.
type left struct {
	Progress
	number  uint64
	queued  task.Dispatch // of the newest copy listed; zero if none is queued
	history []Note
}

// Note is an entry that is not final, as a task's history shows it.
type Note struct {
	State task.State
	task.Dispatch
	Node    string // that has written it
	Failure *task.Failure
}

// Standing is how a task of a former run stands.
type Standing struct {
	State         task.State // final, or 0 for a task without an outcome
	Sequence      uint64     // of the record with the outcome
	Index         int        // of the entry in it
	Number        uint64     // of a task without an outcome
	task.Dispatch            // of the copy that is queued, or is to be
	Queued        bool       // such a copy waits in a queue
	History       []Note
}

// Len returns how many tasks have an outcome, and how many have none.
func (p *Past) Len() (finals, open int) { return len(p.finals), len(p.open) }

// Ended returns where the outcome of a task stands that was not taken, and whether there is one.
func (p *Past) Ended(d task.Digest) (sequence uint64, index int, ended bool) {
	f, ended := p.finals[d]
	return f.sequence, int(f.index), ended
}

// Lost returns how many tasks without an outcome were lost or started when a run ended.
func (p *Past) Lost() (n int) {
	for _, l := range p.open {
		if l.State == task.Started || l.State == task.Lost {
			n++
		}
	}
	return n
}

// Queued reports whether a copy of a task without an outcome waits in a queue.
func (p *Past) Queued(d task.Digest) bool {
	l := p.open[d]
	return l != nil && l.queued != task.Dispatch{}
}

// Listed notes that a copy of the task waits in a queue.
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

// Recorded folds an entry that stands at the index in the record of that sequence. The first final one
// counts, as everywhere.
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

// Take returns how the task stands and forgets it. ok is false if no former run knows it.
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
