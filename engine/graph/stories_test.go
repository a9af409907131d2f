package graph_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// TestStories passes events to a graph and compares its commands with those in testdata/graph. Each file is one story, with
// a graph of its own:
//
//	graph seed=N                                   starts with an empty graph and other jitter
//	submit task=N [retries=N] [delay=D] [deps=(N,…)] a new task, and the tasks whose results it needs
//	submit task=N [attempt=N] [losses=N] [queued]  a task that a former run has left
//	record task=N state=S [attempt=N] [losses=N]   an entry of the log; by default of attempt 1 without losses
//	due task=N                                     its delay has passed, or its final entry was refused
//	cancel task=N                                  it is to be cancelled
//	expired task=N                                 its deadline has passed
//	lose task=N times=N                            that many agents are lost with it, one after the other
//	open                                           prints how many tasks have no outcome
//
// With -rewrite it writes the commands into the stories: read the diff.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/graph", func(t *testing.T, path string) {
		s := &story{graph: graph.New(1)}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

type story struct {
	graph *graph.Graph
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "graph":
		s.graph = graph.New(uint64(number(t, d, "seed", 0)))
		return ""
	case "submit":
		return s.step(graph.Event{
			What: graph.Submitted, Task: taskNumber(t, d), Retries: number(t, d, "retries", 0),
			Dispatch: task.Dispatch{Attempt: int32(number(t, d, "attempt", 0)), Losses: int32(number(t, d, "losses", 0))},
			Delay:    delayOf(t, d), Queued: d.HasArg("queued"), Deps: depsOf(t, d),
		})
	case "record":
		return s.step(graph.Event{
			What: graph.Recorded, Task: taskNumber(t, d), State: stateOf(t, d),
			Dispatch: task.Dispatch{Attempt: int32(number(t, d, "attempt", 1)), Losses: int32(number(t, d, "losses", 0))},
		})
	case "due":
		return s.step(graph.Event{What: graph.Due, Task: taskNumber(t, d)})
	case "cancel":
		return s.step(graph.Event{What: graph.Cancel, Task: taskNumber(t, d)})
	case "expired":
		return s.step(graph.Event{What: graph.Expired, Task: taskNumber(t, d)})
	case "lose":
		return s.lose(taskNumber(t, d), number(t, d, "times", 1))
	case "open":
		return fmt.Sprintf("%d open", s.graph.Open())
	}
	d.Fatalf(t, "unknown command %q", d.Cmd)
	return ""
}

func (s *story) step(e graph.Event) string { return inWords(s.graph.Step(&e, nil)) }

// lose records a loss of each dispatch in turn, from the first one on.
func (s *story) lose(number uint64, times int) string {
	var commands strings.Builder
	for losses := range times {
		commands.WriteString(s.step(graph.Event{What: graph.Recorded, Task: number, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1, Losses: int32(losses)}}) + "\n")
		if losses+1 < graph.MaxLosses {
			commands.WriteString(s.step(graph.Event{What: graph.Due, Task: number}) + "\n")
		}
	}
	return commands.String()
}

// inWords writes each command on a line of its own.
func inWords(commands []graph.Command) string {
	if len(commands) == 0 {
		return "nothing"
	}
	lines := make([]string, len(commands))
	for i, c := range commands {
		lines[i] = fmt.Sprintf("%s %d%s", doing(c.Do), c.Task, details(c))
	}
	return strings.Join(lines, "\n")
}

func doing(do graph.Do) string {
	words := []string{graph.Dispatch: "dispatch", graph.Resolve: "resolve", graph.Wait: "wait", graph.End: "end"}
	return words[do]
}

// details writes all fields that are set, whether they belong to the command or not.
func details(c graph.Command) string {
	var words []string
	if c.Attempt != 0 {
		words = append(words, fmt.Sprintf("attempt %d", c.Attempt))
	}
	if c.Losses != 0 {
		words = append(words, fmt.Sprintf("losses %d", c.Losses))
	}
	if c.Delay != 0 {
		words = append(words, c.Delay.Round(time.Millisecond).String())
	}
	if c.Why != 0 {
		reasons := []string{
			graph.Exhausted: "exhausted", graph.LostTooMuch: "lost too much", graph.Asked: "asked", graph.TooLate: "too late",
			graph.DependencyFailed: "dependency failed",
		}
		words = append(words, reasons[c.Why])
	}
	if c.Cause != 0 {
		words = append(words, fmt.Sprintf("because of %d", c.Cause))
	}
	if len(words) == 0 {
		return ""
	}
	return ": " + strings.Join(words, ", ")
}

func taskNumber(t *testing.T, d *datadriven.TestData) uint64 {
	var n uint64
	d.ScanArgs(t, "task", &n)
	return n
}

func number(t *testing.T, d *datadriven.TestData, key string, otherwise int) int {
	n := otherwise
	d.MaybeScanArgs(t, key, &n)
	return n
}

func depsOf(t *testing.T, d *datadriven.TestData) (deps []uint64) {
	for _, arg := range d.CmdArgs {
		if arg.Key != "deps" {
			continue
		}
		for _, val := range arg.Vals {
			n, err := strconv.ParseUint(val, 10, 64)
			if err != nil {
				d.Fatalf(t, "deps: %v", err)
			}
			deps = append(deps, n)
		}
	}
	return deps
}

func delayOf(t *testing.T, d *datadriven.TestData) time.Duration {
	word := "0s"
	d.MaybeScanArgs(t, "delay", &word)
	delay, err := time.ParseDuration(word)
	if err != nil {
		d.Fatalf(t, "delay: %v", err)
	}
	return delay
}

func stateOf(t *testing.T, d *datadriven.TestData) task.State {
	var word string
	d.ScanArgs(t, "state", &word)
	states := []task.State{task.OK, task.Failed, task.Errored, task.Lost, task.Refused, task.Cancelled, task.Started}
	i := slices.IndexFunc(states, func(s task.State) bool { return s.String() == word })
	if i < 0 {
		d.Fatalf(t, "unknown state %q", word)
	}
	return states[i]
}
