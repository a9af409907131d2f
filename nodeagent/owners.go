package nodeagent

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/queues"
)

// owners is the agent's copy of what sessions say of their tasks: which are cancelled, and which sessions
// have ended. It is looked at before each start. The zero value knows of nothing.
type owners struct {
	some atomic.Bool // something is cancelled or has ended: usually nothing is, and nobody takes the lock

	mu    sync.RWMutex
	ended map[string]bool     // guarded by mu
	tasks map[string]revoked  // guarded by mu; by owner
	rows  map[string]struct{} // guarded by mu; keys of rows that are in tasks
}

// revoked are ranges of task numbers, first and last, sorted and apart.
type revoked [][2]uint64

// cancelled reports whether the task is not to be started.
func (o *owners) cancelled(owner string, number uint64) bool {
	if !o.some.Load() {
		return false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.ended[owner] || o.tasks[owner].has(number)
}

// hasEnded reports whether nothing of the owner is wanted any more.
func (o *owners) hasEnded(owner string) bool {
	if !o.some.Load() {
		return false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.ended[owner]
}

// end notes that an owner has ended, or that its row is gone.
func (o *owners) end(owner string, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !ended {
		delete(o.ended, owner)
		return
	}
	if o.ended == nil {
		o.ended = map[string]bool{}
	}
	o.ended[owner] = true
	delete(o.tasks, owner)
	o.some.Store(true)
}

// cancel notes a row of the table of cancels, and returns whose tasks it is of.
func (o *owners) cancel(row queues.Row) (owner string, tasks revoked) {
	var c session.Cancels
	owner, _, _ = strings.Cut(row.Key, ".")
	if row.Deleted || json.Unmarshal(row.Value, &c) != nil {
		return "", nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended[owner] {
		return owner, nil
	}
	if o.tasks == nil {
		o.tasks = map[string]revoked{}
	}
	all := o.tasks[owner]
	for _, r := range c.Tasks {
		if r[0] <= r[1] {
			all = all.with(r)
		}
	}
	o.tasks[owner] = all
	o.some.Store(true)
	return owner, all
}

func (r revoked) has(number uint64) bool {
	i, _ := slices.BinarySearchFunc(r, number, func(x [2]uint64, n uint64) int {
		if x[1] < n {
			return -1
		}
		return 1
	})
	return i < len(r) && r[i][0] <= number
}

// with returns the ranges and one more, joined with those that it touches.
func (r revoked) with(more [2]uint64) revoked {
	from := 0
	for from < len(r) && r[from][1] < more[0] && r[from][1]+1 != more[0] {
		from++
	}
	to := from
	for to < len(r) && (r[to][0] <= more[1] || r[to][0] == more[1]+1) {
		more[0], more[1] = min(more[0], r[to][0]), max(more[1], r[to][1])
		to++
	}
	return slices.Replace(r, from, to, more)
}

// session takes a row of the table of sessions.
func (a *Agent) session(row queues.Row) {
	a.janitor.session(row)
	var r session.Row
	ended := !row.Deleted && json.Unmarshal(row.Value, &r) == nil && r.Ended
	a.owners.end(row.Key, ended)
	if ended {
		a.revoke(row.Key, nil)
	}
}

// cancelled takes a row of the table of cancels.
func (a *Agent) cancelled(row queues.Row) {
	if owner, tasks := a.owners.cancel(row); tasks != nil {
		a.revoke(owner, tasks)
	}
}

// revoke ends the contexts of the owner's tasks that run: of those cancelled, or of all where tasks is nil.
func (a *Agent) revoke(owner string, tasks revoked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for s := range a.slotsRun {
		x := s.current.Load()
		if x != nil && x.Task.Owner == owner && (tasks == nil || tasks.has(x.Task.Number)) {
			x.revoke()
		}
	}
}
