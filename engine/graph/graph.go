package graph

import (
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

// MaxLosses is how many agents may be lost with a task before it fails. It is a budget of its own: an
// agent's death is no error of the function.
const MaxLosses = 10

// Alone is the number of losses from which on a task runs with nothing beside it: what kills its agent
// then is known, and costs nobody else a loss.
const Alone = 3

// Graph is what an owner knows of its open tasks. The zero value is empty, with jitter from seed 0. It is
// not safe for concurrent use.
type Graph struct {
	seed  uint64 // of the jitter, so that owners do not retry in step
	tasks Pages[node]
	waits map[uint64][]uint64 // tasks that wait for the result of another, by the number of that one
}

// New returns an empty graph whose backoffs are spread by seed.
func New(seed uint64) *Graph { return &Graph{seed: seed} }

// node is one open task.
//
// Invariant: a task is in exactly one of the places that state names, and in tasks until its first final
// entry was folded.
type node struct {
	task.Dispatch // the newest one
	state         state
	why           Why   // of ending
	retries       int32 // further attempts after an error
	missing       int32 // results that its input refers to and that are not there
}

type state uint8

const (
	dispatched state = iota // published, or about to be; an entry may come
	waiting                 // for the end of a delay
	parked                  // for results that its input refers to
	ending                  // the owner has asked for a last entry to be appended
)

// Event is something that happened.
type Event struct {
	What          What
	State         task.State // of Recorded
	Queued        bool       // of Submitted: a copy that is to run waits in a queue already
	Task          uint64
	task.Dispatch               // of Recorded: as in the entry. Of Submitted: where the task goes on; attempt 0 = 1
	Retries       int           // of Submitted: attempts after the first that an error may cost
	Delay         time.Duration // of Submitted: it is not to be dispatched before
	Deps          []uint64      // of Submitted: open tasks whose results its input refers to; not kept
}

// What happened.
type What uint8

// The events.
const (
	Submitted What = iota + 1 // a new task, ready to run, or one that a former run has left
	Recorded                  // an entry was read from the owner's log
	Due                       // the delay of a Wait has passed; or what End asked for was refused
	Cancel                    // somebody asks for the task's cancellation
	Expired                   // its deadline has passed
	Doomed                    // its input cannot be made
	Void                      // what was published or asked for is void: the owner has another log
)

// Command is something to do.
type Command struct {
	Do            Do
	Task          uint64
	task.Dispatch               // of Dispatch and End
	Delay         time.Duration // of Wait
	Why           Why           // of End
	Cause         uint64        // of End for DependencyFailed: the task that failed, or is to fail by a command before
}

// Do says what to do.
type Do uint8

// The commands.
const (
	Dispatch Do = iota + 1 // publish the task
	Resolve                // the entry just read is the task's outcome; the task is closed
	Wait                   // tell of Due after Delay
	End                    // append a last entry, for the reason Why
)

// Why is the owner's reason for ending a task by itself.
type Why uint8

// The reasons.
const (
	Exhausted        Why = iota + 1 // its errors have used up its attempts
	LostTooMuch                     // MaxLosses agents were lost with it
	Asked                           // it was cancelled
	TooLate                         // its deadline has passed
	DependencyFailed                // a task that its input refers to has failed
)

// Open returns how many tasks have no outcome yet.
func (g *Graph) Open() int { return g.tasks.Len() }

// Step takes one event and appends what is to be done to out, which it returns. It allocates nothing but
// what out needs, and keeps nothing of the event.
func (g *Graph) Step(e *Event, out []Command) []Command {
	if e.What == Submitted {
		return g.submitted(e, out)
	}
	n := g.tasks.Get(e.Task)
	switch {
	case n == nil:
		return out // it has its outcome, or was never ours
	case e.What == Due:
		return n.due(e.Task, out)
	case e.What == Void:
		return n.again(e.Task, out)
	case e.What == Cancel:
		return n.endUnlessEnding(e.Task, Asked, out)
	case e.What == Doomed:
		return n.endUnlessEnding(e.Task, DependencyFailed, out)
	case e.What == Expired:
		return n.endUnlessEnding(e.Task, TooLate, out)
	case e.State.Final():
		g.tasks.Delete(e.Task)
		return g.settle(e.Task, e.State == task.OK, command(out, Resolve, e.Task))
	}
	return g.note(e, n, out)
}

func (g *Graph) submitted(e *Event, out []Command) []Command {
	n := node{Dispatch: e.Dispatch, retries: int32(e.Retries)}
	n.Attempt = max(n.Attempt, 1)
	g.tasks.Put(e.Task, n)
	place := g.tasks.Get(e.Task)
	switch {
	case n.Attempt > n.retries+1:
		place.Attempt--
		return place.end(e.Task, Exhausted, out)
	case n.Losses >= MaxLosses:
		return place.end(e.Task, LostTooMuch, out)
	case e.Queued:
		return out
	}
	place.missing = g.await(e.Task, e.Deps)
	if e.Delay > 0 {
		place.state = waiting
		return append(out, Command{Do: Wait, Task: e.Task, Delay: e.Delay})
	}
	return place.ready(e.Task, out)
}

// ready dispatches a task whose delay is over, unless results are missing.
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

// command appends one, in place: a literal would be made on the stack and copied, which takes longer (see task.Value.Set).
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

// again gives the last command once more; a task that waits goes on waiting.
func (n *node) again(number uint64, out []Command) []Command {
	switch n.state {
	case dispatched:
		return n.dispatch(number, out)
	case ending:
		return n.end(number, n.why, out)
	default:
		return out
	}
}

// note acts on an entry that is not final. One of an attempt or a loss that is over was acted upon
// already; of a task that is to end, nothing more is tried. A refusal ends no dispatch: while its delay
// lasts, another copy may err or be lost, and a later fold of the log will count that.
func (g *Graph) note(e *Event, n *node, out []Command) []Command {
	if n.state == ending || e.Dispatch != n.Dispatch {
		return out
	}
	next := n.After(e.State)
	var delay time.Duration
	switch e.State {
	case task.Errored:
		if n.Attempt > n.retries { // its agent should have said Failed
			return n.end(e.Task, Exhausted, out)
		}
		delay = g.backoff(errorBackoff, e.Task, int(e.Attempt))
	case task.Lost:
		if next.Losses >= MaxLosses {
			n.Dispatch = next
			return n.end(e.Task, LostTooMuch, out)
		}
		delay = g.backoff(lossBackoff, together(e.Task, int(e.Losses)+1), int(e.Losses)+1)
	case task.Refused:
		delay = refusedDelay
	default: // started, or returned: what follows will tell
		return out
	}
	n.Dispatch = next
	if n.state == waiting {
		return out // a refusal's delay will do
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

// end asks for a last entry in the log. The task has its outcome when the first final one is read, which
// may be another.
func (n *node) end(number uint64, why Why, out []Command) []Command {
	n.state, n.why = ending, why
	return append(out, Command{Do: End, Task: number, Dispatch: n.Dispatch, Why: why})
}
