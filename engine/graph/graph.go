package graph

import (
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

// MaxLosses is how many agents may be lost with a task before it fails. It is a budget of its own: an
// agent's death is no error of the function.
const MaxLosses = 10

// Graph is what an owner knows of its open tasks. The zero value is empty, with jitter from seed 0. It is
// not safe for concurrent use.
type Graph struct {
	seed  uint64 // of the jitter, so that owners do not retry in step
	tasks Pages[node]
}

// New returns an empty graph whose backoffs are spread by seed.
func New(seed uint64) *Graph { return &Graph{seed: seed} }

// node is one open task.
//
// Invariant: a task is in exactly one of the places that state names, and in tasks until its first final
// entry was folded.
type node struct {
	attempt int32 // of the newest dispatch; 1 is the first
	losses  int32
	retries int32
	state   state
}

type state uint8

const (
	dispatched state = iota // published, or about to be; an entry may come
	waiting                 // for the end of a backoff
	failing                 // the owner has asked for a last failure to be appended
)

// Event is something that happened.
type Event struct {
	What    What
	Task    uint64
	State   task.State // of Recorded
	Attempt int        // of Recorded: as in the entry
	Losses  int        // of Recorded: as in the entry
	Retries int        // of Submitted: attempts after the first that an error may cost
}

// What happened.
type What uint8

// The events.
const (
	Submitted What = iota + 1 // a new task, ready to run
	Recorded                  // an entry was read from the owner's log
	Due                       // the delay of a Wait has passed; or what Fail asked for was refused
)

// Command is something to do.
type Command struct {
	Do      Do
	Task    uint64
	Attempt int           // of Dispatch and Fail
	Losses  int           // of Dispatch and Fail
	Delay   time.Duration // of Wait
}

// Do says what to do.
type Do uint8

// The commands.
const (
	Dispatch Do = iota + 1 // publish the task
	Resolve                // the entry just read is the task's outcome; the task is closed
	Wait                   // tell of Due after Delay
	Fail                   // append a last failure: a budget is used up
)

// Open returns how many tasks have no outcome yet.
func (g *Graph) Open() int { return g.tasks.Len() }

// Step takes one event and appends what is to be done to out, which it returns. It allocates nothing but
// what out needs.
func (g *Graph) Step(e Event, out []Command) []Command {
	if e.What == Submitted {
		g.tasks.Put(e.Task, node{attempt: 1, retries: int32(e.Retries)})
		return append(out, Command{Do: Dispatch, Task: e.Task, Attempt: 1})
	}
	n := g.tasks.Get(e.Task)
	switch {
	case n == nil:
		return out // it has its outcome, or was never ours
	case e.What == Due:
		return g.due(e, n, out)
	case e.State.Final():
		g.tasks.Delete(e.Task)
		return append(out, Command{Do: Resolve, Task: e.Task})
	}
	return g.note(e, n, out)
}

func (g *Graph) due(e Event, n *node, out []Command) []Command {
	c := Command{Do: Dispatch, Task: e.Task, Attempt: int(n.attempt), Losses: int(n.losses)}
	switch n.state {
	case dispatched:
		return out
	case waiting:
		n.state = dispatched
	case failing: // the append was refused
		c.Do = Fail
	}
	return append(out, c)
}

// note acts on an entry that is not final. One of an attempt or a loss that is over was acted upon
// already.
func (g *Graph) note(e Event, n *node, out []Command) []Command {
	if n.state != dispatched || e.Attempt != int(n.attempt) || e.Losses != int(n.losses) {
		return out
	}
	var delay time.Duration
	switch e.State {
	case task.Errored:
		if n.attempt > n.retries { // its agent should have said Failed
			return n.fail(e.Task, out)
		}
		n.attempt++
		delay = g.backoff(errorBackoff, e.Task, e.Attempt)
	case task.Lost:
		n.losses++
		delay = g.backoff(lossBackoff, e.Task, int(n.losses))
	default: // refused
		delay = refusedDelay
	}
	if n.losses >= MaxLosses {
		return n.fail(e.Task, out)
	}
	n.state = waiting
	return append(out, Command{Do: Wait, Task: e.Task, Delay: delay})
}

// fail asks for a last failure in the log: a budget is used up.
func (n *node) fail(number uint64, out []Command) []Command {
	n.state = failing
	return append(out, Command{Do: Fail, Task: number, Attempt: int(n.attempt), Losses: int(n.losses)})
}
