package graph

import (
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

// MaxLosses is how many agents may be lost with a task before it fails. Losses are counted apart from attempts, since the
// death of an agent is no error of the function.
const MaxLosses = 10

// Alone is the number of losses from which on a task runs alone on its agent. If the agent dies again, the task has killed
// it, and no other task is lost with it.
const Alone = 3

// Graph has the open tasks of one owner. The zero value is empty, with jitter from seed 0. It is not safe for concurrent
// use.
type Graph struct {
	seed  uint64 // of the jitter; owners with different seeds do not retry at the same times
	tasks Pages[node]
	waits map[uint64][]uint64 // by task: the tasks whose input refers to its result
}

// New returns an empty graph whose backoffs are spread by seed.
func New(seed uint64) *Graph { return &Graph{seed: seed} }

// node is one open task.
//
// Invariant: a task is in Graph.tasks from its submit until its first final entry is folded.
type node struct {
	task.Dispatch // the newest dispatch
	state         state
	why           Why   // if state is ending
	retries       int32 // how many attempts may follow the first
	missing       int32 // how many tasks that its input refers to have no result yet
}

type state uint8

const (
	dispatched state = iota // published, or about to be
	waiting                 // for a delay to pass
	parked                  // until all results that its input refers to are there
	ending                  // the owner was told to append a final entry
)

// Event is something that happened.
type Event struct {
	What          What
	State         task.State // of Recorded: the entry's state
	Queued        bool       // of Submitted: a batch in a queue has this dispatch already
	Task          uint64
	task.Dispatch               // of Recorded: the entry's. Of Submitted: the one to begin with; attempt 0 means 1
	Retries       int           // of Submitted: how many attempts may follow the first
	Delay         time.Duration // of Submitted: before the task is dispatched
	Deps          []uint64      // of Submitted: tasks whose results its input refers to; not kept
}

// What is the kind of an Event.
type What uint8

// The events.
const (
	Submitted What = iota + 1 // a new task, or one that a former run has left without an outcome
	Recorded                  // an entry was read from the owner's log
	Due                       // the delay of a Wait has passed, or the entry of an End could not be appended
	Cancel                    // the task is to be cancelled
	Expired                   // the deadline of the task has passed
	Doomed                    // the input of the task cannot be put together
	Void                      // the owner has a new log: what it has published or appended no longer counts
)

// Command is something that the caller of Step is to do.
type Command struct {
	Do            Do
	Task          uint64
	task.Dispatch               // of Dispatch and End
	Delay         time.Duration // of Wait
	Why           Why           // of End
	Cause         uint64        // of End for DependencyFailed: the task that has failed, or fails by an earlier command
}

// Do is the kind of a Command.
type Do uint8

// The commands.
const (
	Dispatch Do = iota + 1 // publish the task
	Resolve                // the entry of this event is the task's outcome; the task is no longer open
	Wait                   // pass a Due event after Delay
	End                    // append a final entry to the log, for the reason Why; pass Due if that fails
)

// Why is the reason for which an owner ends a task.
type Why uint8

// The reasons.
const (
	Exhausted        Why = iota + 1 // it has no attempt left
	LostTooMuch                     // MaxLosses agents were lost with it
	Asked                           // it was cancelled
	TooLate                         // its deadline has passed
	DependencyFailed                // a task that its input refers to has failed
)

// Open returns how many tasks have no outcome yet.
func (g *Graph) Open() int { return g.tasks.Len() }

// Step applies one event, appends the commands that follow to out, and returns it. It allocates only to grow out or the
// graph, and keeps nothing of the event.
func (g *Graph) Step(e *Event, out []Command) []Command {
	if e.What == Submitted {
		return g.submitted(e, out)
	}
	n := g.tasks.Get(e.Task)
	switch {
	case n == nil:
		return out // the task has its outcome, or is another owner's
	case e.What == Due:
		return n.due(e.Task, out)
	case e.What == Void:
		return n.repeat(e.Task, out)
	case e.What == Cancel:
		return n.endUnlessEnding(e.Task, Asked, out)
	case e.What == Doomed:
		return n.endUnlessEnding(e.Task, DependencyFailed, out)
	case e.What == Expired:
		return n.endUnlessEnding(e.Task, TooLate, out)
	case e.State.Final():
		g.tasks.Delete(e.Task)
		return g.resolveDeps(e.Task, e.State == task.OK, command(out, Resolve, e.Task))
	}
	return g.note(e, n, out)
}

func (g *Graph) submitted(e *Event, out []Command) []Command {
	g.tasks.Put(e.Task, node{Dispatch: e.Dispatch, retries: int32(e.Retries)})
	n := g.tasks.Get(e.Task)
	n.Attempt = max(n.Attempt, 1)
	switch {
	case n.Attempt > n.retries+1:
		n.Attempt--
		return n.end(e.Task, Exhausted, out)
	case n.Losses >= MaxLosses:
		return n.end(e.Task, LostTooMuch, out)
	case e.Queued:
		return out
	}
	n.missing = g.awaitDeps(e.Task, e.Deps)
	if e.Delay > 0 {
		n.state = waiting
		return append(out, Command{Do: Wait, Task: e.Task, Delay: e.Delay})
	}
	return n.ready(e.Task, out)
}

// ready dispatches a task whose delay has passed, or parks it while results are missing.
func (n *node) ready(number uint64, out []Command) []Command {
	if n.missing > 0 {
		n.state = parked
		return out
	}
	n.state = dispatched
	return n.dispatch(number, out)
}

func (n *node) dispatch(number uint64, out []Command) []Command {
	out = command(out, Dispatch, number)
	out[len(out)-1].Dispatch = n.Dispatch
	return out
}

// command appends a command and sets its fields in place: a literal would be built on the stack and copied, which takes
// longer (see task.Value.Set).
func command(out []Command, do Do, number uint64) []Command {
	out = append(out, Command{})
	c := &out[len(out)-1]
	c.Do, c.Task = do, number
	return out
}

func (n *node) due(number uint64, out []Command) []Command {
	switch n.state {
	case waiting:
		return n.ready(number, out)
	case ending: // the append was refused
		return n.end(number, n.why, out)
	default:
		return out
	}
}

// repeat returns the last Dispatch or End again. A task that waits for a delay or for results goes on waiting.
func (n *node) repeat(number uint64, out []Command) []Command {
	switch n.state {
	case dispatched:
		return n.dispatch(number, out)
	case ending:
		return n.end(number, n.why, out)
	default:
		return out
	}
}

// note applies an entry that is not final. A note of an earlier dispatch has been applied already, and a task that is being
// ended is not tried again. A refusal does not end its dispatch: while the owner waits, another copy of the dispatch may
// fail or be lost, which counts, as it does for a later reader of the log.
func (g *Graph) note(e *Event, n *node, out []Command) []Command {
	if n.state == ending || e.Dispatch != n.Dispatch {
		return out
	}
	next := n.After(e.State)
	var delay time.Duration
	switch e.State {
	case task.Errored:
		if n.Attempt > n.retries { // the agent should have recorded Failed
			return n.end(e.Task, Exhausted, out)
		}
		delay = g.backoff(errorBackoff, e.Task, int(e.Attempt))
	case task.Lost:
		if next.Losses >= MaxLosses {
			n.Dispatch = next
			return n.end(e.Task, LostTooMuch, out)
		}
		delay = g.backoff(lossBackoff, retryGroup(e.Task, int(e.Losses)+1), int(e.Losses)+1)
	case task.Refused:
		delay = refusedDelay
	default: // Started and Returned: another entry will follow
		return out
	}
	n.Dispatch = next
	if n.state == waiting {
		return out // it waits since a refusal; that delay is enough
	}
	n.state = waiting
	return append(out, Command{Do: Wait, Task: e.Task, Delay: delay})
}

func (n *node) endUnlessEnding(number uint64, why Why, out []Command) []Command {
	if n.state == ending {
		return out
	}
	return n.end(number, why, out)
}

// end tells the owner to append a final entry. The task stays open until its first final entry is read, which may be
// another one.
func (n *node) end(number uint64, why Why, out []Command) []Command {
	n.state, n.why = ending, why
	return append(out, Command{Do: End, Task: number, Dispatch: n.Dispatch, Why: why})
}
