package session

import (
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/mean"
	"github.com/tidemill/tidemill/queues"
)

// outbox is the tasks that wait to be published, in lanes, and what it has learned about how large a batch may be.
//
// Session.mu guards it, with its lanes and costs.
type outbox struct {
	lanes   map[laneKey]*lane
	order   []*lane          // lanes in the order of making
	costs   map[string]*cost // by function
	storing mean.Moving      // how long a store takes
	forming []*Handle        // memory for the result of form
}

// laneKey names a lane: a class, and a level in it.
type laneKey struct {
	class task.Class
	level task.Level
}

// lane is the owner's queue for one class and level: the tasks that wait to be published there. What waits when the
// lane is free goes out together, so a lane with nothing under way sends one task at once and a busy one fills batches;
// no timer is involved.
type lane struct {
	laneKey
	shape task.Resources

	queue   *queues.Queue // nil until it is opened
	waiting fifo          // numbers: a handle may be used again once its task has its outcome
	writing int           // batches without the server's answer
	retry   time.Time     // nothing is sent before this time, after a refusal
	gone    bool          // the queue is to be made again

	window window
	hold   time.Time // until when what waits may be held back

	slots   int    // total over all nodes, in tasks of this shape; at least 1
	agents  int    // nodes
	changes uint64 // of the view of the nodes, when slots was counted
}

// Sizes of a batch: the least of all of them.
const (
	BatchTasks    = 1024
	batchBytes    = 256 << 10
	batchExternal = 64 << 20             // bytes of objects that its inputs have
	leastWork     = 5 * time.Millisecond // of one batch, by expected run times
	storesPerWork = 20                   // and at least this many times what storing a message takes
	unknownTasks  = 64                   // of a function whose run time is not known

	firstStoring = 50 * time.Microsecond
	retryDelay   = 250 * time.Millisecond // after a refusal
)

// storingWindow is over how many stores their mean moves.
const storingWindow = 16

func newOutbox() outbox {
	return outbox{lanes: map[laneKey]*lane{}, costs: map[string]*cost{}, storing: mean.Start(firstStoring, storingWindow)}
}

// lane returns the lane of the class and level.
func (o *outbox) lane(key laneKey, shape task.Resources) *lane {
	l := o.lanes[key]
	if l == nil {
		l = &lane{laneKey: key, shape: shape, changes: ^uint64(0)}
		o.lanes[key] = l
		o.order = append(o.order, l)
	}
	return l
}

// cost returns what was learned of the function's run times.
func (o *outbox) cost(fn string) *cost {
	c := o.costs[fn]
	if c == nil {
		c = newCost()
		o.costs[fn] = c
	}
	return c
}

// clear forgets what waits and what is under way: it was published under another name, or in a log that is no more.
func (o *outbox) clear() {
	for _, l := range o.order {
		l.waiting.clear()
		l.window.reset()
	}
}

// sendable reports whether some lane can send.
func (o *outbox) sendable(now time.Time) bool {
	for _, l := range o.order {
		if l.sendable(now) {
			return true
		}
	}
	return false
}

// next returns when a lane that waits for a time can send, zero if none does.
func (o *outbox) next(now time.Time) (at time.Time) {
	for _, l := range o.order {
		if l.waiting.len() == 0 || !l.free() {
			continue
		}
		when := l.retry
		if l.held(now) {
			when = l.hold
		}
		if at.IsZero() || when.Before(at) {
			at = when
		}
	}
	return at
}

// add has a task wait.
func (l *lane) add(number uint64) {
	if l.waiting.len() == 0 && l.window.open() > 0 {
		l.hold = time.Now().Add(longestHold)
	}
	l.waiting.push(number)
}

// free reports whether the lane may send: no batch is without an answer, or what was sent has ended all the same.
func (l *lane) free() bool { return l.writing == 0 || l.window.open() == 0 }

func (l *lane) sendable(now time.Time) bool {
	return l.waiting.len() > 0 && l.free() && !now.Before(l.retry) && !l.held(now)
}

// dispatchEnded notes that a task which was sent has ended. It reports whether what waits can be sent now.
func (l *lane) dispatchEnded() bool {
	before := l.window.open()
	l.window.end()
	return l.window.open() < before && l.waiting.len() > 0
}

// count counts the lane's slots, if the nodes have changed.
func (l *lane) count(nodes *directory.Nodes) {
	if changes := nodes.Changes(); changes != l.changes {
		l.changes, l.slots, l.agents = changes, max(1, nodes.Slots(l.shape)), nodes.Count()
	}
}

// form takes the tasks of the next batch from the lane. What got its outcome while it waited is left out.
// The slice is good until the next call.
func (o *outbox) form(l *lane, t *tracker) []*Handle {
	free := max(l.slots-l.window.open(), l.agents, 1) // a batch is one agent's
	limit := min(BatchTasks, (l.waiting.len()+free-1)/free)
	budget := max(leastWork, storesPerWork*o.storing.Value())
	tasks, bytes, far, work := o.forming[:0], 0, int64(0), time.Duration(0)
	n := 0
	for ; n < l.waiting.len() && len(tasks) < limit; n++ {
		h := t.task(l.waiting.at(n))
		if h == nil {
			continue
		}
		c := h.route.cost
		if !c.known() {
			limit = min(limit, c.unknownLimit(l.slots))
		}
		if h.dispatch.Losses > 0 {
			limit = min(limit, h.mostTogether())
		}
		inline, external := h.sizeLocked()
		bytes += inline
		far += external
		work += c.expected()
		if len(tasks) > 0 && (len(tasks) >= limit || bytes > batchBytes || far > batchExternal || work > budget || !h.mayJoin(tasks[0])) {
			break
		}
		if !c.known() {
			c.trying++
		}
		tasks = append(tasks, h)
	}
	l.waiting.take(n)
	o.forming = tasks
	return tasks
}

// lossParts is into how many batches the tasks are split that were lost in one batch: so that the one that kills its agent
// is soon found.
const lossParts = 16

func parts(lost int) int { return max(1, (lost+lossParts-1)/lossParts) }

// mostTogether returns how many tasks a batch may have with this one in it, which was lost before. Session.mu is held.
func (h *submission) mostTogether() int {
	if h.dispatch.Losses >= graph.Alone {
		return 1
	}
	return max(1, int(h.share))
}

// mayJoin reports whether the task may share a batch with another: those that were lost are not mixed with others.
// Session.mu is held.
func (h *submission) mayJoin(first *Handle) bool {
	return (h.dispatch.Losses > 0) == (first.dispatch.Losses > 0)
}
