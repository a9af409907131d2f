package nodeagent

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// owners is the agent's copy of which tasks are cancelled, and which sessions have ended. A slot looks at it before it starts
// a task. The zero value is empty.
type owners struct {
	any atomic.Bool // something is cancelled or has ended; so that the lock is rarely taken

	mu     sync.RWMutex
	ended  map[string]bool // guarded by mu
	recent cancelSet       // guarded by mu; cancels that came since began
	former cancelSet       // guarded by mu; those that came in the session.CancelsAge before, or longer if few came
	began  time.Time       // guarded by mu
}

// cancelSet is tasks that are not to run. The zero value is empty.
type cancelSet struct {
	asked map[string]task.Ranges // cancelled tasks, by owner
	late  map[string]task.Ranges // tasks whose deadlines have passed, by owner
}

func (s *cancelSet) add(owner string, c session.Cancels) {
	if s.asked == nil {
		s.asked, s.late = map[string]task.Ranges{}, map[string]task.Ranges{}
	}
	s.asked[owner] = s.asked[owner].With(c.Asked)
	s.late[owner] = s.late[owner].With(c.Late)
}

func (s *cancelSet) remove(owner string) {
	delete(s.asked, owner)
	delete(s.late, owner)
}

// unwanted returns why the task is not to be started, nil if it is.
func (o *owners) unwanted(owner string, number uint64) *fault {
	if !o.any.Load() {
		return nil
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	switch {
	case o.recent.late[owner].Has(number), o.former.late[owner].Has(number):
		return &fault{late: true, failure: &session.LateFailure}
	case o.ended[owner]:
		return &fault{cancelled: true, failure: &session.EndedFailure}
	case o.recent.asked[owner].Has(number), o.former.asked[owner].Has(number):
		return &fault{cancelled: true, failure: &session.CancelledFailure}
	}
	return nil
}

// hasEnded reports whether nothing of the owner is wanted any more.
func (o *owners) hasEnded(owner string) bool {
	if !o.any.Load() {
		return false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.ended[owner]
}

// end notes whether an owner has ended.
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
	o.recent.remove(owner)
	o.former.remove(owner)
	o.any.Store(true)
}

// cancel notes a row of the table of cancels, for at least as long as the table has it, and returns whose tasks it is of.
func (o *owners) cancel(row queues.Row) (owner string) {
	var c session.Cancels
	owner, _, _ = strings.Cut(row.Key, ".")
	if row.Deleted || task.CheckOwner(owner) != nil || json.Unmarshal(row.Value, &c) != nil {
		return ""
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended[owner] {
		return ""
	}
	if now := time.Now(); now.Sub(o.began) > session.CancelsAge { // an owner may live, and cancel tasks, for months
		o.former, o.recent, o.began = o.recent, cancelSet{}, now
	}
	o.recent.add(owner, c)
	o.any.Store(true)
	return owner
}

// sessionChanged is called with each row of the table of sessions.
func (a *Agent) sessionChanged(row queues.Row) {
	if task.CheckOwner(row.Key) != nil {
		return // no session writes such a key
	}
	a.janitor.session(row)
	var r lease.Row
	ended := !row.Deleted && json.Unmarshal(row.Value, &r) == nil && (r.Ended || a.isOver(r))
	a.owners.end(row.Key, ended)
	if ended {
		a.abortUnwanted(row.Key)
	}
}

// isOver reports whether nobody can go on with a session: it had no name, and its process had the embedded server
// in it, under another boot.
func (a *Agent) isOver(r lease.Row) bool {
	return a.cfg.Boot != "" && r.Job == "" && r.Boot != a.cfg.Boot
}

// cancelled is called with each row of the table of cancels.
func (a *Agent) cancelled(row queues.Row) {
	if owner := a.owners.cancel(row); owner != "" {
		a.abortUnwanted(owner)
	}
}

// abortUnwanted ends the contexts of the owner's tasks that run and are not wanted any more.
func (a *Agent) abortUnwanted(owner string) {
	for _, x := range a.attemptsOf(owner) {
		if why := a.owners.unwanted(owner, x.Spec.Number); why != nil {
			x.abort(why)
			x.cancelChildren()
		}
	}
}

// attemptsOf returns the owner's tasks that run here, or have run and wait for others.
func (a *Agent) attemptsOf(owner string) (all []*execution) {
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	for s := range a.sched.running {
		if x := s.current.Load(); x != nil && *x.Owner == owner {
			all = append(all, x)
		}
	}
	for x := range a.sched.pending {
		if *x.Owner == owner {
			all = append(all, x)
		}
	}
	return all
}
