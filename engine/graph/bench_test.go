package graph_test

import (
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// BenchmarkStep measures the submit and the outcome of one task, while so many others are open.
func BenchmarkStep(b *testing.B) {
	for _, open := range []uint64{1, 10_000} {
		b.Run(fmt.Sprint("open=", open), func(b *testing.B) {
			s := steadyTraffic(open)
			b.ReportAllocs()
			for b.Loop() {
				s.submitAndRecord()
			}
		})
	}
}

// BenchmarkStepLate measures an entry for a task that has its outcome already.
func BenchmarkStepLate(b *testing.B) {
	s := steadyTraffic(10_000)
	b.ReportAllocs()
	for b.Loop() {
		s.out = s.graph.Step(&graph.Event{What: graph.Recorded, Task: 1, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}}, s.out[:0])
	}
}

// traffic is an owner whose oldest task ends whenever a new one is submitted.
type traffic struct {
	graph      *graph.Graph
	next, last uint64
	out        []graph.Command
}

func steadyTraffic(open uint64) *traffic {
	s := &traffic{graph: graph.New(1), out: make([]graph.Command, 0, 8)}
	for range open {
		s.submit()
	}
	for range 10*open + 1000 { // until its memory no longer grows
		s.submitAndRecord()
	}
	return s
}

func (s *traffic) submit() {
	s.next++
	s.out = s.graph.Step(&graph.Event{What: graph.Submitted, Task: s.next, Retries: 2}, s.out[:0])
}

func (s *traffic) submitAndRecord() {
	s.submit()
	s.last++
	s.out = s.graph.Step(&graph.Event{What: graph.Recorded, Task: s.last, State: task.OK, Dispatch: task.Dispatch{Attempt: 1}}, s.out[:0])
}
