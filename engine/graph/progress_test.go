package graph_test

import (
	"testing"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// noted is a note of one dispatch of a task.
type noted struct {
	state task.State
	at    task.Dispatch
}

// dispatch returns the dispatch with so many attempts and losses.
func dispatch(attempt, losses int32) task.Dispatch {
	return task.Dispatch{Attempt: attempt, Losses: losses}
}

// fold folds the notes in this order. isNew is what Note has returned for the last one.
func fold(notes []noted) (p graph.Progress, isNew bool) {
	for _, n := range notes {
		isNew = p.Note(&task.Entry{Number: 1, State: n.state, Dispatch: n.at})
	}
	return p, isNew
}

// Each case folds the notes of one task and checks the progress after the last one: whether that note changed anything, and
// which dispatch follows if no agent has the task any more.
func TestProgressFoldsNotes(t *testing.T) {
	for _, c := range []struct {
		name  string
		notes []noted
		state task.State
		at    task.Dispatch
		isNew bool
		next  task.Dispatch
	}{
		{
			name:  "a start",
			notes: []noted{{task.Started, dispatch(1, 0)}},
			state: task.Started, at: dispatch(1, 0), isNew: true, next: dispatch(1, 1),
		},
		{
			name:  "a start that is noted twice",
			notes: []noted{{task.Started, dispatch(1, 0)}, {task.Started, dispatch(1, 0)}},
			state: task.Started, at: dispatch(1, 0), isNew: false, next: dispatch(1, 1),
		},
		{
			name:  "an error",
			notes: []noted{{task.Started, dispatch(1, 0)}, {task.Errored, dispatch(1, 0)}},
			state: task.Errored, at: dispatch(1, 0), isNew: true, next: dispatch(2, 0),
		},
		{
			name:  "a loss",
			notes: []noted{{task.Started, dispatch(2, 1)}, {task.Lost, dispatch(2, 1)}},
			state: task.Lost, at: dispatch(2, 1), isNew: true, next: dispatch(2, 2),
		},
		{
			name:  "a loss without a start",
			notes: []noted{{task.Lost, dispatch(1, 0)}},
			state: task.Lost, at: dispatch(1, 0), isNew: true, next: dispatch(1, 1),
		},
		{
			name:  "a refusal: the same dispatch is published again",
			notes: []noted{{task.Refused, dispatch(1, 0)}},
			state: task.Refused, at: dispatch(1, 0), isNew: true, next: dispatch(1, 0),
		},
		{
			name:  "a start behind a refusal of the same dispatch",
			notes: []noted{{task.Refused, dispatch(1, 0)}, {task.Started, dispatch(1, 0)}},
			state: task.Started, at: dispatch(1, 0), isNew: true, next: dispatch(1, 1),
		},
		{
			name:  "a task that was handed back before it ran",
			notes: []noted{{task.Started, dispatch(1, 0)}, {task.Returned, dispatch(1, 0)}},
			state: task.Returned, at: dispatch(1, 0), isNew: true, next: dispatch(1, 0),
		},
		{
			name:  "a loss behind an error of the same dispatch changes nothing",
			notes: []noted{{task.Errored, dispatch(1, 0)}, {task.Lost, dispatch(1, 0)}},
			state: task.Errored, at: dispatch(1, 0), isNew: false, next: dispatch(2, 0),
		},
		{
			name:  "an error behind a loss of the same dispatch changes nothing",
			notes: []noted{{task.Lost, dispatch(1, 0)}, {task.Errored, dispatch(1, 0)}},
			state: task.Lost, at: dispatch(1, 0), isNew: false, next: dispatch(1, 1),
		},
		{
			name:  "a start behind the end of its dispatch changes nothing",
			notes: []noted{{task.Errored, dispatch(1, 0)}, {task.Started, dispatch(1, 0)}},
			state: task.Errored, at: dispatch(1, 0), isNew: false, next: dispatch(2, 0),
		},
		{
			name:  "a note of an earlier dispatch changes nothing",
			notes: []noted{{task.Started, dispatch(2, 0)}, {task.Errored, dispatch(1, 0)}},
			state: task.Started, at: dispatch(2, 0), isNew: false, next: dispatch(2, 1),
		},
		{
			name:  "a later dispatch",
			notes: []noted{{task.Errored, dispatch(1, 0)}, {task.Started, dispatch(2, 0)}},
			state: task.Started, at: dispatch(2, 0), isNew: true, next: dispatch(2, 1),
		},
		{
			name:  "a later dispatch whose note was read before a dispatch in between",
			notes: []noted{{task.Started, dispatch(2, 1)}, {task.Lost, dispatch(2, 0)}},
			state: task.Started, at: dispatch(2, 1), isNew: false, next: dispatch(2, 2),
		},
	} {
		p, isNew := fold(c.notes)
		if p.State != c.state || p.Dispatch != c.at {
			t.Errorf("%s: got %s at %+v, want %s at %+v", c.name, p.State, p.Dispatch, c.state, c.at)
		}
		if isNew != c.isNew {
			t.Errorf("%s: the last note is new: got %t, want %t", c.name, isNew, c.isNew)
		}
		if got := p.Next(); got != c.next {
			t.Errorf("%s: the next dispatch: got %+v, want %+v", c.name, got, c.next)
		}
	}
}

// A copy of a dispatch need not run when the dispatch has ended, or a later one was noted. If a start is the last note of
// it, the agent that noted the start may be gone with the task.
func TestProgressOfACopy(t *testing.T) {
	for _, c := range []struct {
		name              string
		notes             []noted
		of                task.Dispatch
		over, startedLast bool
	}{
		{name: "without a note", of: dispatch(1, 0)},
		{name: "started", notes: []noted{{task.Started, dispatch(1, 0)}}, of: dispatch(1, 0), startedLast: true},
		{name: "errored", notes: []noted{{task.Errored, dispatch(1, 0)}}, of: dispatch(1, 0), over: true},
		{name: "lost", notes: []noted{{task.Lost, dispatch(1, 0)}}, of: dispatch(1, 0), over: true},
		{name: "refused", notes: []noted{{task.Refused, dispatch(1, 0)}}, of: dispatch(1, 0)},
		{name: "returned", notes: []noted{{task.Started, dispatch(1, 0)}, {task.Returned, dispatch(1, 0)}}, of: dispatch(1, 0)},
		{name: "a later one was started", notes: []noted{{task.Started, dispatch(1, 1)}}, of: dispatch(1, 0), over: true},
		{name: "an earlier one has ended", notes: []noted{{task.Errored, dispatch(1, 0)}}, of: dispatch(2, 0)},
		{name: "an earlier one was started", notes: []noted{{task.Started, dispatch(1, 0)}}, of: dispatch(1, 1)},
	} {
		p, _ := fold(c.notes)
		if got := p.Over(c.of); got != c.over {
			t.Errorf("%s: Over(%+v): got %t, want %t", c.name, c.of, got, c.over)
		}
		if got := p.StartedLast(c.of); got != c.startedLast {
			t.Errorf("%s: StartedLast(%+v): got %t, want %t", c.name, c.of, got, c.startedLast)
		}
	}
}
