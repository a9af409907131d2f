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

// TestStories tells a graph of events, and compares the commands with those of testdata/graph. Each file is one
// story, with a graph of its own:
//
//	graph seed=N                                   begins again with another jitter
//	submit task=N [retries=N] [delay=D] [deps=(N,…)] a new task, and the open ones whose results it needs
//	submit task=N [attempt=N] [losses=N] [queued]  one that a former run has left
//	record task=N state=S [attempt=N] [losses=N]   an entry of the log; attempt 1 and no losses if not said
//	due task=N                                     its delay has passed, or its last entry was refused
//	cancel task=N                                  somebody asks for its cancellation
//	expired task=N                                 its deadline has passed
//	lose task=N times=N                            agent after agent is lost with it, up to a last failure
//	open                                           how many tasks have no outcome
//
// Run it with -rewrite to take the commands as those expected, and read the diff.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/graph", func(t *testing.T, path string) {
		s := &story{graph: graph.New(1)}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.tell(t, d) })
	})
}

type story struct {
	graph *graph.Graph
}

func (s *story) tell(t *testing.T, d *datadriven.TestData) string {
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
	var told strings.Builder
	for losses := range times {
		told.WriteString(s.step(graph.Event{What: graph.Recorded, Task: number, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1, Losses: int32(losses)}}) + "\n")
		if losses+1 < graph.MaxLosses {
			told.WriteString(s.step(graph.Event{What: graph.Due, Task: number}) + "\n")
		}
	}
	return told.String()
}

// inWords writes one command a line.
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
