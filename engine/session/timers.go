package session

import (
	"container/heap"
	"slices"
	"time"
)

// timers are times at which something is to happen to open tasks: a delay is over, a deadline has passed, an input is to
// be loaded again. Those of tasks that have ended are skipped. Session.mu guards them.
type timers struct {
	heap timerHeap
	dead int // how many are of tasks that have ended
}

// timerKind says what a timer is for.
type timerKind uint8

const (
	delayOver timerKind = iota
	deadlinePassed
	loadInputAgain
)

// timer is one of them.
type timer struct {
	at     time.Time
	number uint64 // of the task
	kind   timerKind
}

// add sets a timer.
func (t *timers) add(x timer) { heap.Push(&t.heap, x) }

// next returns when the first timer is due, zero if there is none.
func (t *timers) next() time.Time {
	if len(t.heap) == 0 {
		return time.Time{}
	}
	return t.heap[0].at
}

// pop returns a timer that is due and removes it. ok is false if none is.
func (t *timers) pop(now time.Time) (x timer, ok bool) {
	if len(t.heap) == 0 || t.heap[0].at.After(now) {
		return x, false
	}
	return heap.Pop(&t.heap).(timer), true
}

// minDead is for how many timers of ended tasks the heap is not worth a clean-up.
const minDead = 1024

// ended notes that a task has ended with so many timers set. When most timers are of such tasks, those are removed: a million
// tasks with a deadline or a delay of a day, which end at once or are cancelled, must not leave a million timers.
func (t *timers) ended(set int, isOpen func(number uint64) bool) {
	if set == 0 {
		return
	}
	t.dead += set
	if t.dead < minDead || t.dead < len(t.heap)/2 {
		return
	}
	t.heap = slices.DeleteFunc(t.heap, func(x timer) bool { return !isOpen(x.number) })
	t.dead = 0
	heap.Init(&t.heap)
}

// timerHeap orders timers by time.
type timerHeap []timer

// Len is the number of timers.
func (h timerHeap) Len() int { return len(h) }

// Less orders by time.
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

// Swap exchanges two.
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is for package heap.
func (h *timerHeap) Push(x any) { *h = append(*h, x.(timer)) }

// Pop is for package heap.
func (h *timerHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
