package nodeagent

import "sync/atomic"

// maxIdleWorkers bounds how many goroutines wait for a slot to run.
const maxIdleWorkers = 64

// workers are the goroutines that run slots. One whose slot has ended runs the next one that begins: the stack of a new
// goroutine would have to grow for each lone task, which takes longer than the task.
type workers struct {
	runs chan func()     // to goroutines that wait for a slot
	idle atomic.Int32    // how many do
	done <-chan struct{} // closed when the agent ends
}

func newWorkers(done <-chan struct{}) workers { return workers{runs: make(chan func()), done: done} }

// run has a goroutine run a slot: one that waits for it, or a new one.
func (w *workers) run(slot func()) {
	select {
	case w.runs <- slot:
	default:
		go w.work(slot)
	}
}

// work runs a slot, and then others as they begin.
func (w *workers) work(slot func()) {
	for slot != nil {
		slot()
		slot = w.next()
	}
}

// next waits for a slot that begins. It returns nil if enough others wait for one, or the agent ends.
func (w *workers) next() (slot func()) {
	defer w.idle.Add(-1)
	if w.idle.Add(1) > maxIdleWorkers {
		return nil
	}
	select {
	case slot = <-w.runs:
	case <-w.done:
	}
	return slot
}
