package graph_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tidemill/tidemill/engine/graph"
)

const schedules = 5000

// TestSchedules runs owners against a queue, agents and a log with every fault that they may have: batches are delivered
// late and more than once, agents die and still record, notes are repeated, entries arrive in any order. In each schedule,
// every task has one outcome, the first one in the log.
//
// Seeds differ from run to run. A failure prints its seed, and the command that repeats it.
func TestSchedules(t *testing.T) {
	if *graph.Seed != 0 {
		if err := newWorld(*graph.Seed, t.Logf).play(); err != nil {
			t.Fatalf("seed %d: got fault %v, want none", *graph.Seed, err)
		}
		return
	}
	seen := map[string]int{}
	first := rand.Uint64()
	for i := range uint64(schedules) {
		w := newWorld(first+i, nil)
		if err := w.play(); err != nil {
			t.Fatalf("seed %d: got fault %v, want none\nTo repeat it: go test ./engine/graph -run '^TestSchedules$' -v -seed=%d", first+i, err, first+i)
		}
		for what, n := range w.seen {
			seen[what] += n
		}
	}
	for _, what := range []string{
		"ok", "failed", "lost ten times", "append refused", "append repeated", "redelivered", "recorded by a dead agent",
		"outcome during a wait", "late final", "old note", "note during a wait", "refused", "entry for an unknown task",
		"started", "delayed", "resumed", "cancelled", "ended by request", "with dependencies", "dispatched for its dependencies",
		"failed with a dependency",
	} {
		if seen[what] < 100 {
			t.Errorf("%q in %d schedules: got %d, want at least 100", what, schedules, seen[what])
		}
	}
	t.Log(schedules, "schedules:", seen)
}

// play runs the schedule to its end, when nothing is queued, unread or waited for.
func (w *world) play() error {
	const longest = 100_000
	for range longest {
		if w.err != nil {
			return w.err
		}
		if !w.act() {
			return w.ended()
		}
	}
	return fmt.Errorf("no end after %d steps: %d queued, %d to append, %d waits", longest, len(w.queue), len(w.late), len(w.waits))
}

// act does one of the things that may happen next. It returns false if there are none.
func (w *world) act() bool {
	acts := []struct {
		possible bool
		do       func()
	}{
		{w.left > 0, w.submit},
		{len(w.queue) > 0, w.deliver},
		{len(w.late) > 0, w.appendEntry},
		{w.read < len(w.log), w.readEntry},
		{len(w.waits) > 0, w.due},
	}
	n := 0
	for _, a := range acts {
		if a.possible {
			acts[n] = a
			n++
		}
	}
	if n == 0 {
		return false
	}
	if len(w.tasks) > 0 && w.happens(w.chance.cancel, "asked to end") {
		w.ask()
		return true
	}
	acts[w.rng.IntN(n)].do()
	return true
}

// ended checks that each task was resolved once, and that none is open.
func (w *world) ended() error {
	for number, l := range w.tasks {
		if l.resolved != 1 {
			return fmt.Errorf("task %d was resolved %d times; its first final entry is %d of %d", number, l.resolved, l.outcome, len(w.log))
		}
	}
	if open := w.graph.Open(); open != 0 {
		return fmt.Errorf("%d tasks are open at the end", open)
	}
	return nil
}

// obey carries out the commands that followed the event, and checks that each of them is allowed.
func (w *world) obey(e graph.Event, commands []graph.Command) {
	w.logf("%s\n   %s", eventInWords(e), inWords(commands))
	for i, c := range commands {
		if c.Task != e.Task && (i == 0 || commands[0].Do != graph.Resolve) || i > 0 && c.Task == e.Task {
			w.fail("%s: got %s, want one command for the task, or a resolve and commands for tasks that depend on it", eventInWords(e), inWords(commands))
			return
		}
		w.obeyOne(e, c)
	}
}

func (w *world) obeyOne(e graph.Event, c graph.Command) {
	commands := []graph.Command{c}
	l := w.tasks[c.Task]
	if l == nil || l.resolved > 0 {
		w.fail("task %d has its outcome, or is another owner's: got %s, want nothing", c.Task, inWords(commands))
		return
	}
	switch c.Do {
	case graph.Dispatch:
		w.dispatch(e, c, l)
	case graph.Resolve:
		w.resolve(e, c, l)
	case graph.Wait:
		w.wait(e, c)
	case graph.End:
		w.end(e, c, l)
	default:
		w.fail("unknown command %d", c.Do)
	}
}

// check compares the number of open tasks with that of tasks without an outcome. It is called after each event.
func (w *world) check() {
	open := 0
	for _, l := range w.tasks {
		if l.resolved == 0 {
			open++
		}
	}
	if got := w.graph.Open(); got != open {
		w.fail("open tasks: got %d, want %d", got, open)
	}
}
