package session

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// update is a change of the core: it lives as long as Session.mu is held. Events are applied to the tracker; what follows
// from them outside of the core (wake-ups, calls into the agent) is collected, and done by unlock.
type update struct {
	s         *Session
	announced *announcement // collects the handles that end, for their collections; nil = each is announced at once
	next      []followUp    // events that follow from the one that is applied

	enqueued  bool      // a lane that is free has something to send
	publish   bool      // the publisher has something to do
	wakeSlots bool      // a child waits on this agent: a free slot may run it
	aborts    []aborted // attempts that are not wanted any more
}

// followUp is an event that follows from another one: a child of a task that has ended is cancelled, or has an outcome that
// needs no log.
type followUp struct {
	event graph.Event
	rec   *recorded // nil but for Recorded
}

// aborted is an attempt that is to end, since its task has an outcome.
type aborted struct {
	attempt Attempt
	why     *task.Failure
}

// recorded is an entry, and where it comes from.
type recorded struct {
	*task.Entry
	writer string // the node that ran the task, or the owner itself
	lost   int    // of a loss: how many tasks were lost together; at least 1
}

// lock takes Session.mu for a change.
func (s *Session) lock() update {
	s.mu.Lock()
	return update{s: s}
}

// unlock ends the change: it gives Session.mu up, and then does what is left to be done. Calls into the agent come after
// the lock, since the agent has locks of its own and may send to its connection under them.
func (u *update) unlock() {
	s := u.s
	if u.publish || u.enqueued {
		s.publisher.wakeUp()
	}
	s.mu.Unlock()
	if u.wakeSlots {
		s.cfg.Host.WakeSlot()
	}
	for _, a := range u.aborts {
		a.attempt.Abort(a.why)
	}
}

// apply tells the graph of an event of an open task and carries out what it commands, and then what follows from that. rec
// is the entry behind a Recorded, nil otherwise.
func (u *update) apply(event *graph.Event, h *Handle, rec *recorded) {
	u.applyOne(event, h, rec)
	u.followUp()
}

// followUp applies what follows, until nothing does.
func (u *update) followUp() {
	for i := 0; i < len(u.next); i++ {
		f := u.next[i]
		if h := u.s.tracker.task(f.event.Task); h != nil {
			u.applyOne(&f.event, h, f.rec)
		}
	}
	u.next = u.next[:0]
}

// applyOne is apply without what follows.
func (u *update) applyOne(event *graph.Event, h *Handle, rec *recorded) {
	commands := u.s.tracker.apply(event)
	for i := range commands {
		c := &commands[i]
		of := h
		if c.Task != event.Task { // one that waited for this one
			of = u.s.tracker.task(c.Task)
		}
		switch c.Do {
		case graph.Dispatch:
			of.given = of.given && of.dispatch.Attempt == c.Attempt
			of.dispatch = c.Dispatch
			u.dispatch(of)
		case graph.Resolve:
			u.resolve(h, rec)
		case graph.Wait:
			u.setTimer(c.Task, c.Delay, delayOver)
		case graph.End:
			u.end(of, h, c)
		}
	}
}

// dispatch sends a task, or has its input loaded before.
func (u *update) dispatch(h *Handle) {
	if h.needsLoading(u.s.objects.store.Bundled()) {
		u.s.inputs.add(h.number)
		return
	}
	u.send(h)
}

// send puts a task where it waits to be run: into the queue of this agent, or into its lane.
func (u *update) send(h *Handle) {
	if c := h.localChild(); c != nil {
		u.queueChild(c)
	} else {
		u.enqueue(h)
	}
}

// enqueue puts a task into its lane.
func (u *update) enqueue(h *Handle) {
	l := h.route.lane
	l.add(h.number)
	u.enqueued = u.enqueued || l.free()
}

// setTimer has something happen to a task after the delay.
func (u *update) setTimer(number uint64, delay time.Duration, kind timerKind) {
	u.s.tracker.setTimer(time.Now().Add(delay), number, kind)
	u.publish = true // its loop may sleep for longer than this
}

// end has a final entry appended that the owner itself decides on, since the event of another task, cause, may be the
// reason. Nobody but this agent decides on a local child, so that its outcome follows at once.
func (u *update) end(h, cause *Handle, c *graph.Command) {
	if c.Cause != 0 {
		if c.Cause != cause.number {
			cause = u.s.tracker.task(c.Cause)
		}
		h.extras().doomed = dependencyFailure(cause)
	}
	if h.localChild() == nil {
		u.s.tracker.ends = append(u.s.tracker.ends, *c)
		u.publish = true
		return
	}
	e := finalEntry(h, c)
	u.next = append(u.next, followUp{
		event: graph.Event{What: graph.Recorded, Task: h.number, State: e.State, Dispatch: e.Dispatch},
		rec:   &recorded{Entry: &e, writer: u.s.reader.identity().owner},
	})
}

// failInput has a task fail whose input can never be sent.
func (u *update) failInput(h *Handle, f *task.Failure) {
	h.extras().doomed = f
	u.apply(&graph.Event{What: graph.Doomed, Task: h.number}, h, nil)
}

// cancelChildren has the children of a task cancelled next, except for some. parent says what happens to the task.
func (u *update) cancelChildren(t *TaskContext, except []*Handle, parent string) {
	set := t.children.Load()
	if set == nil || u.s.broken != nil {
		return
	}
	for _, h := range set.open {
		if !h.ended.Load() && !slices.Contains(except, h) {
			h.doomWith(t, parent)
			u.next = append(u.next, followUp{event: graph.Event{What: graph.Cancel, Task: h.number}})
		}
	}
}

// doomWith notes why a child of the task is cancelled, unless there is another reason already.
func (h *Handle) doomWith(t *TaskContext, parent string) {
	if x := h.extras(); x.doomed == nil {
		x.doomed = &task.Failure{Kind: task.KindCancelled, Message: fmt.Sprintf("%s (task %s), which submitted it, %s", t.Call.Func, t.ID(), parent)}
	}
}

// queueChild puts a child into the queue of its class, for slots of this agent, and of others if they have announced idle
// CPUs.
func (u *update) queueChild(c *Child) {
	u.s.children.of(c.handle.route.lane.class).push(c)
	u.wakeSlots = true
	u.publish = u.publish || u.s.children.cpusElsewhere.Load()
}
