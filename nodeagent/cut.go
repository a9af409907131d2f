package nodeagent

import (
	"time"
)

// A batch is formed before anybody knows how long its tasks run, and an agent holds batches ahead. So a task that
// takes long may stand before many that do not. They are given away, and only when that helps: while a task has run
// for long and much longer than expected, and another agent has told that it is idle, so that the queue was empty.
// (Without that, one pause of a machine under all agents, and each would publish all it has again.)
const (
	longRun      = 20 * time.Millisecond
	timesTheMean = 3
	lookAgain    = longRun / 2
)

// giveAway publishes in ones what this agent does not get to, while others are idle.
func (a *Agent) giveAway() {
	if a.nodes.Idle(a.cfg.NodeID) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	left := false
	for _, c := range a.order {
		overdue := c.overdue()
		for _, l := range c.levels {
			if l != nil {
				a.cut(l, overdue)
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

// overdue returns them. Agent.mu is held.
func (c *class) overdue() overdue {
	o := overdue{batches: map[*batch]bool{}, all: c.running > 0}
	tooLong := max(longRun, timesTheMean*c.mean)
	now := time.Since(c.agent.begun)
	for s := range c.agent.slotsRun {
		if s.class != c {
			continue
		}
		x := s.current.Load()
		if x == nil || now-time.Duration(s.begun.Load()) < tooLong {
			o.all = false
			continue
		}
		o.batches[x.batch] = true
	}
	return o
}

// cut gives away what was not begun of batches with a task that is overdue; of all, where nothing else runs. Agent.mu
// is held.
func (a *Agent) cut(l *level, o overdue) {
	kept := l.todo[:0]
	for _, b := range l.todo {
		n := b.unstarted()
		if n == 0 || !o.all && !o.batches[b] || a.nodes.TakeIdle(a.cfg.NodeID, n) == 0 {
			kept = append(kept, b)
			continue
		}
		if o.all {
			l.puller.Recall() // or it would come back
		}
		a.handBackIn(b, 1)
	}
	clear(l.todo[len(kept):])
	l.todo = kept
}

// stuck reports whether nothing of the class is begun here soon: then nothing is drawn ahead that others could run.
// Agent.mu is held.
func (c *class) stuck() bool { return c.agent.nodes.Count() > 1 && c.overdue().all }
