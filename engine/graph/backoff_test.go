package graph_test

import (
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// errorDelay returns how long the task waits after its n-th error.
func errorDelay(t *testing.T, seed, number uint64, n int) time.Duration {
	t.Helper()
	return lastDelay(t, seed, number, n, func(i int) graph.Event {
		return graph.Event{What: graph.Recorded, Task: number, State: task.Errored, Dispatch: task.Dispatch{Attempt: int32(i)}}
	})
}

// lossDelay returns how long the task waits after its n-th loss.
func lossDelay(t *testing.T, seed, number uint64, n int) time.Duration {
	t.Helper()
	return lastDelay(t, seed, number, n, func(i int) graph.Event {
		return graph.Event{What: graph.Recorded, Task: number, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1, Losses: int32(i - 1)}}
	})
}

// lastDelay submits a task and records the notes 1 to n, and returns the last one's delay.
func lastDelay(t *testing.T, seed, number uint64, n int, note func(i int) graph.Event) time.Duration {
	t.Helper()
	g := graph.New(seed)
	g.Step(&graph.Event{What: graph.Submitted, Task: number, Retries: n}, nil)
	var delay time.Duration
	for i := range n {
		e := note(i + 1)
		commands := g.Step(&e, nil)
		if len(commands) != 1 || commands[0].Do != graph.Wait {
			t.Fatalf("note %d: got %s, want one wait", i+1, inWords(commands))
		}
		delay = commands[0].Delay
		g.Step(&graph.Event{What: graph.Due, Task: number}, nil)
	}
	return delay
}

// A delay doubles up to half a minute; up to a half is taken off.
func TestBackoffBounds(t *testing.T) {
	const longest = 30 * time.Second
	for _, kind := range []struct {
		name  string
		of    func(t *testing.T, seed, number uint64, n int) time.Duration
		first time.Duration
		most  int
	}{
		{"error", errorDelay, 100 * time.Millisecond, 70},
		{"loss", lossDelay, 500 * time.Millisecond, graph.MaxLosses - 1},
	} {
		full := kind.first
		for n := 1; n <= kind.most; n++ {
			least, greatest := longest, time.Duration(0)
			for group := range uint64(200) {
				delay := kind.of(t, 7, group*64+1, n)
				least, greatest = min(least, delay), max(greatest, delay)
			}
			if least < full/2 || greatest > full {
				t.Errorf("%s %d: got delays from %v to %v, want between %v and %v", kind.name, n, least, greatest, full/2, full)
			}
			if least > full*6/10 || greatest < full*9/10 {
				t.Errorf("%s %d: got delays from %v to %v, want them spread from below %v to above %v", kind.name, n, least, greatest, full*6/10, full*9/10)
			}
			full = min(2*full, longest)
		}
	}
}

// A schedule can be repeated: the same seed, task and number of failures give the same delay.
func TestBackoffIsDeterministic(t *testing.T) {
	if a, b := errorDelay(t, 7, 1, 3), errorDelay(t, 7, 1, 3); a != b {
		t.Errorf("got %v, then %v, want the same delay twice", a, b)
	}
	var zero graph.Graph
	zero.Step(&graph.Event{What: graph.Submitted, Task: 1, Retries: 1}, nil)
	commands := zero.Step(&graph.Event{What: graph.Recorded, Task: 1, State: task.Errored, Dispatch: task.Dispatch{Attempt: 1}}, nil)
	if want := errorDelay(t, 0, 1, 1); len(commands) != 1 || commands[0].Delay != want {
		t.Errorf("the zero Graph: got %s, want a wait of %v", inWords(commands), want)
	}
}

// Tasks of one owner do not retry at the same time, nor do equally numbered tasks of different owners.
func TestBackoffSpreads(t *testing.T) {
	byTask, byOwner, byGroup := map[time.Duration]bool{}, map[time.Duration]bool{}, map[time.Duration]bool{}
	for i := range uint64(1000) {
		byTask[errorDelay(t, 7, i+1, 1)] = true
		byOwner[errorDelay(t, i, 1, 1)] = true
		byGroup[lossDelay(t, 7, i*64+1, 1)] = true
	}
	// A thousand draws of 1,024 steps give 639 different ones, or nearly.
	if len(byTask) < 500 || len(byOwner) < 500 || len(byGroup) < 500 {
		t.Errorf("different delays among 1000: got %d by task, %d by owner, %d by group of lost tasks, want at least 500 of each", len(byTask), len(byOwner), len(byGroup))
	}
}

// Tasks of a group of 64 neighbours that were lost together are dispatched again together, so that they can share batches.
// Once they are to run alone, their delays differ.
func TestBackoffOfNeighbours(t *testing.T) {
	for n := 1; n < graph.MaxLosses; n++ {
		delays := map[time.Duration]int{}
		for number := uint64(128); number < 192; number++ {
			delays[lossDelay(t, 7, number, n)]++
		}
		first := lossDelay(t, 7, 128, n)
		if n < graph.Alone && len(delays) != 1 {
			t.Errorf("loss %d: got %d different delays among neighbours, want 1", n, len(delays))
		}
		if n >= graph.Alone && len(delays) < 56 { // of 1,024
			t.Errorf("loss %d: got %d different delays among 64 tasks that are to run alone, want at least 56", n, len(delays))
		}
		if before, after := lossDelay(t, 7, 127, n), lossDelay(t, 7, 192, n); before == first || after == first {
			t.Errorf("loss %d: got delays %v, %v and %v for tasks 127, 128 and 192, want those of different groups to differ", n, before, first, after)
		}
	}
}
