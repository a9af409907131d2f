package session

import "time"

// window counts the batches of a lane that are under way: sent, and not ended. To send more of them than agents can use gains
// nothing: in the stream they would wait as they are, while in the outbox other tasks join them. Without a bound, tasks that
// are submitted one by one in quick succession make more messages than the agents and the log can process, and each new one
// waits behind all of them.
//
// It counts how many tasks have ended, and not which: those that were sent first most often end first.
type window struct {
	sent  uint64   // tasks sent so far
	ended uint64   // how many of them have ended
	ends  []uint64 // for each batch under way: the value of sent after it
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

// reset forgets the batches under way: some of them will never be known to have ended.
func (w *window) reset() { w.ended, w.ends = w.sent, w.ends[:0] }

// Bounds of the window. An agent has a batch in each slot and one ahead; some are on their way to it, or back.
const (
	batchesASlot = 2
	batchesMore  = 2
	longestHold  = 5 * time.Millisecond // how long a task may wait for the window; it is not durable meanwhile
)

// held reports whether the tasks that wait in the lane are to wait for others to join them.
func (l *lane) held(now time.Time) bool {
	return l.window.open() >= batchesASlot*max(1, l.slots)+batchesMore && l.waiting.len() < BatchTasks && now.Before(l.hold)
}
