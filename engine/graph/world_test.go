package graph_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// world is one owner with its graph, and what is around it: a queue, agents, and the owner's log.
type world struct {
	rng    *rand.Rand
	chance chances
	graph  *graph.Graph
	left   int                   // tasks to submit
	next   uint64                // the next task's number
	tasks  map[uint64]*knownTask // by task

	queue []delivery    // published and not acked
	late  []graph.Event // entries that are to be appended
	log   []graph.Event
	read  int      // entries of the log that the owner has read
	waits []uint64 // tasks that are to get a Due event

	seen map[string]int // by what happened: how often
	logf func(format string, args ...any)
	err  error // the first fault
}

// chances are the probabilities of the faults in one schedule.
type chances struct {
	crash, late, unacked, repeated, refused, errs, hopeless, full, started float64
	cancel, delayed, resumed                                               float64
}

// knownTask is what the world knows of one task.
type knownTask struct {
	retries         int32
	attempt, losses int32         // of the newest dispatch
	delayed         bool          // a delay precedes its first dispatch
	ending          bool          // the owner was told to append a final entry
	outcome         int           // index of the first final entry in the log, -1 if there is none yet
	resolved        int           // how often
	deaths          int32         // messages with it that were redelivered
	noted           map[note]bool // what the owner has read
	deps            []uint64      // tasks whose results it needs
	ok              bool          // resolved with a result
}

// note is an entry that is not final, without its task.
type note struct {
	state           task.State
	attempt, losses int32
}

// delivery is a message in the queue.
type delivery struct {
	task            uint64
	attempt, losses int32
	delivered       int
}

func newWorld(seed uint64, logf func(format string, args ...any)) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 0)), graph: graph.New(seed), tasks: map[uint64]*knownTask{}, seen: map[string]int{}, logf: logf,
	}
	if logf == nil {
		w.logf = func(string, ...any) {}
	}
	upTo := func(most float64) float64 {
		if w.rng.IntN(3) == 0 {
			return 0
		}
		return most * w.rng.Float64()
	}
	w.chance = chances{
		crash: upTo(1), late: upTo(0.5), unacked: upTo(0.5), repeated: upTo(0.5), refused: upTo(0.5), errs: upTo(1),
		hopeless: upTo(0.1), full: upTo(0.7), started: upTo(0.5),
		cancel: upTo(0.1), delayed: upTo(0.5), resumed: upTo(0.5),
	}
	w.left = 1 + w.rng.IntN(6)
	w.next = 1 + w.rng.Uint64N(600)
	return w
}

// happens returns true with this probability, and counts how often it does.
func (w *world) happens(chance float64, what string) bool {
	if w.rng.Float64() >= chance {
		return false
	}
	w.seen[what]++
	return true
}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *world) step(e graph.Event) {
	w.obey(e, w.graph.Step(&e, nil))
	w.check()
}

// submit adds a task: a new one, perhaps with a delay, or one that a former run has left.
func (w *world) submit() {
	w.left--
	l := &knownTask{retries: int32(w.rng.IntN(4)), outcome: -1, noted: map[note]bool{}}
	e := graph.Event{What: graph.Submitted, Task: w.next, Retries: int(l.retries)}
	w.tasks[w.next] = l
	w.next++
	if w.happens(w.chance.delayed, "delayed") {
		l.delayed = true
		e.Delay = time.Duration(1 + w.rng.Int64N(int64(time.Minute)))
	}
	if w.happens(w.chance.resumed, "resumed") {
		w.leave(&e, l)
	}
	if !e.Queued {
		w.depend(&e, l)
	}
	w.step(e)
}

// depend lets the task depend on others: open ones, and some that have succeeded.
func (w *world) depend(e *graph.Event, l *knownTask) {
	for number, other := range w.tasks {
		if number == e.Task || other.resolved > 0 && !other.ok || !w.happens(0.3, "with dependencies") {
			continue
		}
		l.deps = append(l.deps, number)
		if other.resolved == 0 || w.rng.IntN(2) == 0 {
			e.Deps = append(e.Deps, number)
		}
	}
}

// missing reports whether a result that the task needs is missing.
func (w *world) missing(l *knownTask) bool {
	return slices.ContainsFunc(l.deps, func(dep uint64) bool { return !w.tasks[dep].ok })
}

// leave makes the task one that a former run has left, queued or not. It may have no attempt left, or too many losses.
func (w *world) leave(e *graph.Event, l *knownTask) {
	e.Attempt, e.Losses = int32(1+w.rng.IntN(int(l.retries)+2)), int32(w.rng.IntN(graph.MaxLosses+1))
	l.deaths = e.Losses
	spent := e.Attempt > l.retries+1 || e.Losses == graph.MaxLosses
	if e.Queued = !spent && w.rng.IntN(2) == 0; e.Queued {
		l.delayed = false
		l.attempt, l.losses = e.Attempt, e.Losses
		w.queue = append(w.queue, delivery{task: e.Task, attempt: e.Attempt, losses: e.Losses})
	}
}

// ask cancels a task, or lets its deadline pass, whether it is open or not.
func (w *world) ask() {
	for number, l := range w.tasks {
		e := graph.Event{What: graph.Cancel, Task: number}
		if w.rng.IntN(2) == 0 {
			e.What = graph.Expired
		}
		before := l.ending
		w.step(e)
		if l.resolved == 0 && !l.ending {
			w.fail("%s: got no end command, want one", eventInWords(e))
		}
		if !before && l.ending {
			w.seen["ended by request"]++
		}
		return
	}
}

// deliver delivers a message to an agent, which records the outcome and acks, or dies before that. If the message is
// redelivered, the agent does not run the task but records it as lost.
func (w *world) deliver() {
	i := w.rng.IntN(len(w.queue))
	m := &w.queue[i]
	m.delivered++
	switch {
	case m.delivered > 1:
		if m.delivered == 2 {
			w.tasks[m.task].deaths++
		}
		w.seen["redelivered"]++
		w.record(task.Lost, *m)
	case w.happens(w.chance.crash, "crash"):
		if w.happens(w.chance.late, "recorded by a dead agent") {
			w.record(w.run(*m), *m)
		}
		return // it was not acked, so it is redelivered
	case w.happens(w.chance.refused, "refused"):
		w.record(task.Refused, *m)
	default:
		if w.happens(w.chance.started, "started") {
			w.record(task.Started, *m)
		}
		w.record(w.run(*m), *m)
	}
	if !w.happens(w.chance.unacked, "unacked") {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
}

// run returns how an attempt ends, on an agent that respects the number of retries.
func (w *world) run(m delivery) task.State {
	switch {
	case !w.happens(w.chance.errs, "error"):
		return task.OK
	case m.attempt > w.tasks[m.task].retries, w.happens(w.chance.hopeless, "hopeless"):
		return task.Failed
	}
	return task.Errored
}

func (w *world) record(state task.State, m delivery) {
	w.late = append(w.late, graph.Event{What: graph.Recorded, Task: m.task, State: state, Dispatch: task.Dispatch{Attempt: m.attempt, Losses: m.losses}})
}

// appendEntry appends any of the entries that are to be appended, perhaps not for the last time. Sometimes an entry for an
// unknown task follows.
func (w *world) appendEntry() {
	i := w.rng.IntN(len(w.late))
	e := w.late[i]
	if !w.happens(w.chance.repeated, "append repeated") {
		w.late = slices.Delete(w.late, i, i+1)
	}
	l := w.tasks[e.Task]
	if e.State.Final() && l.outcome < 0 {
		l.outcome = len(w.log)
	}
	w.log = append(w.log, e)
	if w.happens(0.02, "entry for an unknown task") {
		e.Task = w.next + 1000 + w.rng.Uint64N(1000)
		w.log = append(w.log, e)
	}
}

// readEntry lets the owner read the next entry. The first final entry resolves the task, and no other entry does.
func (w *world) readEntry() {
	e, at := w.log[w.read], w.read
	w.read++
	l := w.tasks[e.Task]
	if l == nil {
		w.step(e)
		return
	}
	w.count(e, l)
	l.noted[note{e.State, e.Attempt, e.Losses}] = true
	before := l.resolved
	w.step(e)
	if now := l.resolved; (now > before) != (at == l.outcome) {
		w.fail("entry %d of task %d: got %d resolves; the first final entry is %d", at, e.Task, now-before, l.outcome)
	}
}

func (w *world) count(e graph.Event, l *knownTask) {
	waits := slices.Contains(w.waits, e.Task)
	switch final := e.State.Final(); {
	case final && l.resolved > 0:
		w.seen["late final"]++
	case final:
		w.seen[e.State.String()]++
		if waits {
			w.seen["outcome during a wait"]++
		}
	case waits:
		w.seen["note during a wait"]++
	case e.Attempt != l.attempt || e.Losses != l.losses:
		w.seen["old note"]++
	}
}

// due ends one of the waits.
func (w *world) due() {
	i := w.rng.IntN(len(w.waits))
	number := w.waits[i]
	w.waits = slices.Delete(w.waits, i, i+1)
	w.step(graph.Event{What: graph.Due, Task: number})
}

// dispatch publishes the task. After the first dispatch there must have been a note of the one before: an error for the
// next attempt, a loss for one more loss, a refusal for the same dispatch.
func (w *world) dispatch(e graph.Event, c graph.Command, l *knownTask) {
	cause := task.State(0)
	switch [2]int32{c.Attempt - l.attempt, c.Losses - l.losses} {
	case [2]int32{1, 0}:
		cause = task.Errored
	case [2]int32{0, 1}:
		cause = task.Lost
	case [2]int32{0, 0}:
		cause = task.Refused
	}
	again := e.What == graph.Due && l.noted[note{cause, l.attempt, l.losses}]
	began := graph.Submitted
	if l.delayed {
		began = graph.Due
	}
	first := e.What == began && l.attempt == 0
	if e.What == graph.Recorded && e.Task != c.Task {
		w.seen["dispatched for its dependencies"]++
		first = slices.Contains(l.deps, e.Task) && l.attempt == 0
	}
	l.delayed = false
	switch {
	case w.missing(l):
		w.fail("task %d: got a dispatch, want none before all results of tasks %v are there", c.Task, l.deps)
	case l.ending:
		w.fail("task %d is being ended: got %s, want nothing", c.Task, inWords([]graph.Command{c}))
	case !again && !first:
		w.fail("after attempt %d, losses %d: %s: got %s, without a note that leads to it", l.attempt, l.losses, eventInWords(e), inWords([]graph.Command{c}))
	case c.Attempt > 1+l.retries:
		w.fail("task %d: got attempt %d, want at most %d", c.Task, c.Attempt, l.retries+1)
	case c.Losses >= graph.MaxLosses || c.Losses > l.deaths:
		w.fail("task %d: got losses %d, want at most the %d redeliveries, and fewer than %d", c.Task, c.Losses, l.deaths, graph.MaxLosses)
	}
	l.attempt, l.losses = c.Attempt, c.Losses
	w.queue = append(w.queue, delivery{task: c.Task, attempt: c.Attempt, losses: c.Losses})
}

func (w *world) resolve(e graph.Event, c graph.Command, l *knownTask) {
	l.resolved++
	l.ok = e.State == task.OK
	if e.What != graph.Recorded || !e.State.Final() {
		w.fail("task %d: got a resolve by %q, want one by a final entry only", c.Task, eventInWords(e))
	}
}

// wait records that the task is to get a Due event. An owner has at most one timer for each task.
func (w *world) wait(e graph.Event, c graph.Command) {
	delayed := e.What == graph.Submitted && c.Delay == e.Delay
	noted := e.What == graph.Recorded && !e.State.Final() && e.State != task.Started && c.Delay <= 30*time.Second
	if c.Delay <= 0 || !delayed && !noted {
		w.fail("%s: task %d: got a wait of %v, want one after a submit with this delay, or after a note and at most 30s", eventInWords(e), c.Task, c.Delay)
	}
	if slices.Contains(w.waits, c.Task) {
		w.fail("task %d: got a second wait before the first has passed", c.Task)
	}
	w.waits = append(w.waits, c.Task)
}

// end appends a final entry. The log may refuse it, or the answer may be lost; then the command may follow again, and only
// then.
func (w *world) end(e graph.Event, c graph.Command, l *knownTask) {
	if l.ending && e.What != graph.Due {
		w.fail("%s: task %d is being ended already: got %s", eventInWords(e), c.Task, inWords([]graph.Command{c}))
	}
	l.ending = true
	w.checkWhy(e, c, l)
	refused := w.happens(w.chance.full, "append refused")
	if !refused || w.happens(0.2, "answer of append lost") {
		state := task.Failed
		if c.Why == graph.Asked {
			state = task.Cancelled
		}
		w.record(state, delivery{task: c.Task, attempt: c.Attempt, losses: c.Losses})
	}
	if refused {
		w.waits = append(w.waits, c.Task)
	}
}

// checkWhy checks that the reason for which a task is ended is true.
func (w *world) checkWhy(e graph.Event, c graph.Command, l *knownTask) {
	right := true
	switch c.Why {
	case graph.LostTooMuch:
		w.seen["lost ten times"]++
		right = c.Losses == graph.MaxLosses && l.deaths >= graph.MaxLosses
	case graph.Exhausted:
		right = c.Attempt == l.retries+1
	case graph.Asked:
		right = e.What == graph.Cancel || e.What == graph.Due
	case graph.TooLate:
		right = e.What == graph.Expired || e.What == graph.Due
	case graph.DependencyFailed:
		w.seen["failed with a dependency"]++
		cause := w.tasks[c.Cause]
		right = e.What == graph.Due || cause != nil && slices.Contains(l.deps, c.Cause) && !cause.ok && (cause.resolved > 0 || cause.ending)
	}
	if !right || c.Why == 0 {
		w.fail("%s: task %d with %d retries and %d redeliveries: got %s, whose reason is not true", eventInWords(e), c.Task, l.retries, l.deaths, inWords([]graph.Command{c}))
	}
}

func eventInWords(e graph.Event) string {
	switch e.What {
	case graph.Submitted:
		return fmt.Sprintf("task %d is submitted with %d retries: attempt %d, losses %d, delay %v, queued %v",
			e.Task, e.Retries, e.Attempt, e.Losses, e.Delay, e.Queued)
	case graph.Cancel:
		return fmt.Sprintf("task %d is to be cancelled", e.Task)
	case graph.Expired:
		return fmt.Sprintf("the deadline of task %d has passed", e.Task)
	case graph.Due:
		return fmt.Sprintf("task %d is due", e.Task)
	default:
		return fmt.Sprintf("task %d is recorded as %s: attempt %d, losses %d", e.Task, e.State, e.Attempt, e.Losses)
	}
}
