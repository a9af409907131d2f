//go:build !race

package graph_test

import (
	"testing"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// An owner with steady traffic allocates nothing: pages are reused.
func TestAllocStep(t *testing.T) {
	for _, open := range []uint64{0, 1, 300, 5000} {
		s := steadyTraffic(open)
		if allocs := testing.AllocsPerRun(100, func() {
			for range 1000 {
				s.submitAndRecord()
			}
		}); allocs != 0 {
			t.Errorf("submit and record 1000 tasks with %d others open: got %v allocations, want 0", open, allocs)
		}
	}
}

// Errors, losses and refusals allocate nothing either.
func TestAllocNotes(t *testing.T) {
	g := graph.New(1)
	var out []graph.Command
	number := uint64(0)
	do := func(e graph.Event) {
		e.Task = number
		out = g.Step(&e, out[:0])
	}
	if allocs := testing.AllocsPerRun(1000, func() {
		number++
		do(graph.Event{What: graph.Submitted, Retries: 1})
		do(graph.Event{What: graph.Recorded, State: task.Refused, Dispatch: task.Dispatch{Attempt: 1}})
		do(graph.Event{What: graph.Due})
		do(graph.Event{What: graph.Recorded, State: task.Errored, Dispatch: task.Dispatch{Attempt: 1}})
		do(graph.Event{What: graph.Due})
		for losses := range int32(graph.MaxLosses) {
			do(graph.Event{What: graph.Recorded, State: task.Lost, Dispatch: task.Dispatch{Attempt: 2, Losses: losses}})
			do(graph.Event{What: graph.Due})
		}
		do(graph.Event{What: graph.Recorded, State: task.Failed, Dispatch: task.Dispatch{Attempt: 2, Losses: graph.MaxLosses}})
		do(graph.Event{What: graph.Recorded, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}})
	}); allocs != 0 {
		t.Errorf("a task that ends by losses: got %v allocations, want 0", allocs)
	}
	if g.Open() != 0 {
		t.Errorf("open tasks at the end: got %d, want 0", g.Open())
	}
}
