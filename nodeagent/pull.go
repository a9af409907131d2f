package nodeagent

import (
	"time"

	"github.com/tidemill/tidemill/engine/session"
)

// What an agent holds beyond what runs bridges the way to the queue and back, some milliseconds on a
// machine that was idle; and what it holds nobody else can run. So it holds about so much work, by
// expected run times; or one batch a slot, if that is more and its tasks are no longer than bridged, where
// the way would cost a hundredth and more of the slots' time.
const (
	ahead   = 5 * time.Millisecond // of work a slot
	bridged = 250 * time.Millisecond
)

// maxAhead bounds how many batches a slot pulls ahead.
const maxAhead = 4

// pullAll gives all classes their credit.
func (u *change) pullAll() {
	for _, c := range u.a.sched.order {
		u.pull(c)
	}
}

// pull gives the class's pullers the credit for as many batches as can be used. The server is asked when the change ends.
func (u *change) pull(c *class) {
	if u.a.cancels.stale() || time.Now().Before(c.barred) {
		return
	}
	for _, l := range c.levels {
		if l != nil && u.a.sched.takes(l.name) {
			u.pullLevel(c, l)
		}
	}
}

// pullLevel gives credit for one batch a free slot, and some ahead.
func (u *change) pullLevel(c *class, l *level) {
	unstarted := l.unstarted()
	want := 0
	if unstarted == 0 {
		want = u.a.sched.slots.Free(c.shape)
		if c.running == 0 || c.levelsServed() > 1 {
			want = max(want, 1) // while others hold everything: what is not pulled can not wait its turn
		}
	}
	if unstarted < c.lead() && !c.stuck() {
		want += c.shape.Times(u.a.cfg.Resources) * c.batchesAhead()
	}
	credit := l.puller.Credit()
	if want <= credit || want-credit < (want+1)/2 {
		return // small requests cost as much as large ones
	}
	l.puller.AddCredit(want - credit)
	u.asking = append(u.asking, l.puller)
}

// batchesAhead returns how many batches a slot pulls ahead: one, and more of tasks so short that even full batches are
// little work, since each request is a message. The next tasks may be longer, and what was asked for is taken back only
// when they have stood in the way for a while: where there are other agents, it is one. scheduler.mu is held.
func (c *class) batchesAhead() int {
	if c.agent.nodes.Count() > 1 {
		return 1
	}
	return int(min(maxAhead, max(1, ahead/(session.BatchTasks*max(1, c.runTime.Value())))))
}

// lead is the low-water mark of a level's unstarted tasks, below which more are pulled. scheduler.mu is held.
func (c *class) lead() int {
	each := c.runTime.Value()
	if each == 0 || each > bridged {
		return 0
	}
	work := ahead * time.Duration(c.shape.Times(c.agent.cfg.Resources))
	return int((work + each - 1) / each)
}

// watch has the slots of the batch that is run, the oldest one, pull more when the level has less than its lead.
// scheduler.mu is held.
func (l *level) watch() {
	b := l.todo[0]
	others := l.unstarted() - b.unstarted()
	b.low.Store(int64(len(b.Specs) + others - b.class.lead()))
}
