package session

import "time"

// window is a lane's account of the batches under way: sent, and not ended. More of them than agents can use gain
// nothing by being sent: they wait in the queue as they are, where in the outbox others join them. Without a bound,
// tasks that come one by one, faster than a message is worth, make more messages than agents and log keep up with,
// and each new one waits behind all of them.
//
// It counts tasks, not which ones: those that were sent first most often end first.
type window struct {
	sent  uint64   // tasks, ever
	ended uint64   // of them
	ends  []uint64 // of batches under way: what sent was behind each
}

// open returns how many batches are under way.
func (w *window) open() int { return len(w.ends) }

func (w *window) send(tasks int) {
	w.sent += uint64(tasks)
	w.ends = append(w.ends, w.sent)
}

// end notes the end of a task that was sent, whatever became of it.
func (w *window) end() {
	w.ended = min(w.ended+1, w.sent)
	for len(w.ends) > 0 && w.ends[0] <= w.ended {
		w.ends = w.ends[1:]
	}
}

// reset forgets what never ended.
func (w *window) reset() { w.ended, w.ends = w.sent, w.ends[:0] }

// Bounds of the window. An agent has a batch in each slot and one ahead; some are on their way to it, or back.
const (
	batchesASlot = 2
	batchesMore  = 2
	longestHold  = 5 * time.Millisecond // that a task waits for the window; for what is to be durable, too
)

// held reports whether what waits in the lane is better kept back, so that others join it.
func (l *lane) held(now time.Time) bool {
	return l.window.open() >= batchesASlot*max(1, l.slots)+batchesMore && l.waiting.len() < BatchTasks && now.Before(l.hold)
}
