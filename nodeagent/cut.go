package nodeagent

import (
	"time"
)

// A batch is formed before anybody knows how long its tasks run, and an agent holds batches ahead. So a task that
// takes long may stand before many that do not. They are given away, and only when that helps: while a task has run
// for long and much longer than expected, and another agent has announced idle CPUs, so that the queue was empty.
// (Without that condition, after one pause of a machine with all agents on it, each would publish again all it has.)
const (
	longRun      = 20 * time.Millisecond
	timesTheMean = 3
	lookAgain    = longRun / 2
)

// giveAway publishes, in batches of one task, what this agent does not get to, while others are idle.
func (a *Agent) giveAway() {
	if a.nodes.Idle(a.cfg.NodeID) == 0 {
		return
	}
	u := a.lock()
	defer u.unlock()
	left := false
	for _, c := range a.sched.order {
		overdue := c.overdue()
		for _, l := range c.levels {
			if l != nil {
				u.cut(l, overdue)
				left = left || l.unstarted() > 0
			}
		}
	}
	if left && a.base.Err() == nil {
		a.cutTimer.Reset(lookAgain)
	}
}

// overdue are the tasks of a class that run for too long.
type overdue struct {
	batches map[*batch]bool // in which such a task came
	all     bool            // there is no other: nothing of the class is begun here soon
}

// overdue returns them. scheduler.mu is held.
func (c *class) overdue() overdue {
	o := overdue{batches: map[*batch]bool{}, all: c.running > 0}
	tooLong := max(longRun, timesTheMean*c.runTime.Value())
	now := time.Since(c.agent.began)
	for s := range c.agent.sched.running {
		if s.class != c {
			continue
		}
		x := s.current.Load()
		if x == nil || now-time.Duration(s.taskBegan.Load()) < tooLong {
			o.all = false
			continue
		}
		o.batches[x.batch] = true
	}
	return o
}

// cut gives away what was not begun of batches with a task that is overdue; of all, where nothing else runs.
func (u *change) cut(l *level, o overdue) {
	a := u.a
	kept := l.todo[:0]
	for _, b := range l.todo {
		n := b.unstarted()
		if n == 0 || !o.all && !o.batches[b] || a.nodes.TakeIdle(a.cfg.NodeID, n) == 0 {
			kept = append(kept, b)
			continue
		}
		if o.all {
			l.puller.RecallCredit() // or it would come back
		}
		u.handBackIn(b, 1)
	}
	clear(l.todo[len(kept):])
	l.todo = kept
}

// stuck reports whether nothing of the class is begun here soon: then nothing is pulled ahead that others could run.
// scheduler.mu is held.
func (c *class) stuck() bool { return c.agent.nodes.Count() > 1 && c.overdue().all }
