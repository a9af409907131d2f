package session

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// tracker knows the open tasks of a session: what was submitted and has no outcome yet. Its graph decides what happens to
// them. It does no I/O and reads no clock.
//
// Session.mu guards it.
type tracker struct {
	graph  *graph.Graph
	open   graph.Pages[*Handle] // by number
	number uint64               // of the newest task
	local  int                  // open children that this agent runs and that were not published

	history history
	timers  timers
	ends    []graph.Command // final entries that the owner is to append itself
	stores  stores
	room    room

	commands []graph.Command // memory for the result of apply
	deps     []uint64        // memory for the result of missing
}

// apply tells the graph of an event. The commands are good until the next call.
func (t *tracker) apply(e *graph.Event) []graph.Command {
	t.commands = t.graph.Step(e, t.commands[:0])
	return t.commands
}

// task returns the handle of an open task, nil if the task has its outcome. Once Session.mu is given up, the handle may be
// used for another task.
func (t *tracker) task(number uint64) *Handle {
	if place := t.open.Get(number); place != nil {
		return *place
	}
	return nil
}

// pending says how many tasks are open.
func (t *tracker) pending() string {
	return fmt.Sprintf("%d have no outcome yet, with inputs of %d bytes", t.open.Len(), t.room.bytes)
}

// add makes the task an open one.
func (t *tracker) add(h *Handle) {
	t.room.bytes += h.inputBytes()
	t.open.Put(h.number, h)
	if h.localChild() != nil {
		t.local++
	}
}

// remove takes out a task that has its outcome. It returns the notes of its former attempts. The handle still has the
// input.
func (t *tracker) remove(h *Handle) []graph.Note {
	t.open.Delete(h.number)
	if h.localChild() != nil {
		t.local--
	}
	t.timers.ended(int(h.timers), func(number uint64) bool { return t.open.Get(number) != nil })
	t.room.bytes -= h.inputBytes()
	t.stores.stored(h) // its entry says that it was stored, whatever became of the server's answer
	return t.history.take(h.number)
}

// published returns how many open tasks others may record entries of.
func (t *tracker) published() int { return t.open.Len() - t.local }

// publishedTasks returns the open tasks that others may record entries of, in the order of submission.
func (t *tracker) publishedTasks() (handles []*Handle) {
	t.open.All(func(_ uint64, h *Handle) {
		if h.localChild() == nil {
			handles = append(handles, h)
		}
	})
	slices.SortFunc(handles, func(x, y *Handle) int { return int(int64(x.number) - int64(y.number)) })
	return handles
}

// missing returns the numbers of those tasks of deps that have no outcome yet, each once. It is good until the next call.
func (t *tracker) missing(deps []*Handle) []uint64 {
	t.deps = t.deps[:0]
	for _, d := range deps {
		if !d.ended.Load() {
			t.deps = append(t.deps, d.number)
		}
	}
	slices.Sort(t.deps)
	t.deps = slices.Compact(t.deps)
	return t.deps
}

// endAll ends all open tasks with the failure, and whoever waits for room or for stores: the session is broken.
func (t *tracker) endAll(failure error) {
	t.open.All(func(_ uint64, h *Handle) { h.end(&task.Value{}, failure, nil) })
	t.open, t.local = graph.Pages[*Handle]{}, 0
	t.stores.endAll()
	t.room.freed.Wake()
}

// history is the notes of open tasks, by number, for their dead letters.
type history map[uint64][]graph.Note

// maxHistory bounds what is remembered of one task's attempts.
const maxHistory = 64

// add keeps a note, and reports whether it did: one that says the same as the last is left out, since a refusal may be
// repeated every second, for long.
func (h history) add(number uint64, n graph.Note) bool {
	notes := h[number]
	if last := len(notes) - 1; last >= 0 && n.State == notes[last].State && n.Dispatch == notes[last].Dispatch {
		return false
	}
	if len(notes) >= maxHistory { // the first and the last ones say most
		notes = slices.Delete(notes, maxHistory/2, maxHistory/2+1)
	}
	h[number] = append(notes, n)
	return true
}

// take returns the notes of a task and forgets them.
func (h history) take(number uint64) []graph.Note {
	notes := h[number]
	delete(h, number)
	return notes
}

// setTimer has something happen to an open task at a time.
func (t *tracker) setTimer(at time.Time, number uint64, kind timerKind) {
	if h := t.task(number); h != nil {
		h.timers++
		t.timers.add(timer{at, number, kind})
	}
}

// popTimer returns a timer of an open task that is due, and the task. ok is false if none is.
func (t *tracker) popTimer(now time.Time) (x timer, h *Handle, ok bool) {
	for {
		if x, ok = t.timers.pop(now); !ok {
			return x, nil, false
		}
		if h = t.task(x.number); h != nil {
			h.timers--
			return x, h, true
		}
		t.timers.dead--
	}
}
