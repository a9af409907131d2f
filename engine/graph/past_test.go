package graph_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// TestPastStories fills a Past with what former runs have left, and takes tasks from it. Each file of testdata/past is one
// story:
//
//	past                                                starts with an empty Past
//	listed task=D number=N [attempt=N] [losses=N]       a batch with the task is queued
//	recorded task=D number=N state=S [attempt=N] [losses=N] [at=N/I]
//	                                                    an entry of the log; without at, the first one of the next record
//	take task=D                                         prints its state
//	len                                                 prints how many have an outcome, and how many have none
//
// D is a word that the digest is made of.
func TestPastStories(t *testing.T) {
	datadriven.Walk(t, "testdata/past", func(t *testing.T, path string) {
		s := &pastStory{past: &graph.Past{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

type pastStory struct {
	past     *graph.Past
	sequence uint64 // of the newest record
}

func (s *pastStory) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "past":
		*s = pastStory{past: &graph.Past{}}
		return ""
	case "listed":
		s.past.Listed(digestOf(t, d), uint64(number(t, d, "number", 0)), task.Dispatch{Attempt: int32(number(t, d, "attempt", 1)), Losses: int32(number(t, d, "losses", 0))})
		return ""
	case "recorded":
		s.recorded(t, d)
		return ""
	case "take":
		standing, ok := s.past.Take(digestOf(t, d))
		return standingInWords(standing, ok)
	case "len":
		finals, open := s.past.Len()
		return fmt.Sprintf("%d with an outcome, %d without", finals, open)
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return ""
}

func (s *pastStory) recorded(t *testing.T, d *datadriven.TestData) {
	s.sequence++
	index := 0
	if d.HasArg("at") {
		var at string
		d.ScanArgs(t, "at", &at)
		if _, err := fmt.Sscanf(at, "%d/%d", &s.sequence, &index); err != nil {
			d.Fatalf(t, "at: %v", err)
		}
	}
	s.past.Recorded(&task.Entry{
		Digest: digestOf(t, d), Number: uint64(number(t, d, "number", 0)), State: stateOf(t, d),
		Dispatch: task.Dispatch{Attempt: int32(number(t, d, "attempt", 1)), Losses: int32(number(t, d, "losses", 0))},
	}, "node", s.sequence, index)
}

func standingInWords(s graph.Standing, ok bool) string {
	switch {
	case !ok && fmt.Sprint(s) == fmt.Sprint(graph.Standing{}):
		return "unknown"
	case s.State != 0:
		return fmt.Sprintf("%s: record %d, entry %d", s.State, s.Sequence, s.Index)
	}
	words := fmt.Sprintf("open: number %d, attempt %d, losses %d", s.Number, s.Attempt, s.Losses)
	if s.Queued {
		words += ", queued"
	}
	var b strings.Builder
	b.WriteString(words)
	for _, n := range s.History {
		fmt.Fprintf(&b, "\n   %s: attempt %d, losses %d, on %s", n.State, n.Attempt, n.Losses, n.Node)
	}
	return b.String()
}

func digestOf(t *testing.T, d *datadriven.TestData) task.Digest {
	var word string
	d.ScanArgs(t, "task", &word)
	var digest task.Digest
	copy(digest[:], word)
	return digest
}
