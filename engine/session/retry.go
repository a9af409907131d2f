package session

import (
	"container/heap"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
)

// dueTimes is a heap of what is to happen to tasks, the earliest first.
type dueTimes []dueTime

type dueTime struct {
	at     time.Time
	number uint64
	what   graph.What // Due or Expired
}

// Len, Less, Swap, Push and Pop make it a heap.Interface.
func (d dueTimes) Len() int { return len(d) }

// Less orders by time.
func (d dueTimes) Less(i, j int) bool { return d[i].at.Before(d[j].at) }

// Swap exchanges two.
func (d dueTimes) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push is for package heap.
func (d *dueTimes) Push(x any) { *d = append(*d, x.(dueTime)) }

// Pop is for package heap.
func (d *dueTimes) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

// wait tells the graph of Due or Expired after the delay. mu is held.
func (s *Session) wait(number uint64, delay time.Duration, what graph.What) {
	heap.Push(&s.due, dueTime{time.Now().Add(delay), number, what})
	s.rouse() // it may sleep longer than this
}

// idleDeadline notes that a task with a deadline has ended before it. When most of what is due is of such, it is
// forgotten. mu is held.
func (s *Session) idleDeadline() {
	s.idleDue++
	if s.idleDue < minIdleDue || s.idleDue < s.due.Len()/2 {
		return
	}
	kept := s.due[:0]
	for _, d := range s.due {
		if s.open.Get(d.number) != nil {
			kept = append(kept, d)
		}
	}
	clear(s.due[len(kept):])
	s.due, s.idleDue = kept, 0
	heap.Init(&s.due)
}

const minIdleDue = 1024

// wakeDue tells the graph of what is due.
func (s *Session) wakeDue(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.due.Len() > 0 && !s.due[0].at.After(now) {
		d := heap.Pop(&s.due).(dueTime)
		switch h := s.openTask(d.number); {
		case h == nil:
		case d.what == settleAgain:
			s.unsettle(d.number)
		default:
			s.step(&graph.Event{What: d.what, Task: d.number}, h, nil)
		}
	}
}
