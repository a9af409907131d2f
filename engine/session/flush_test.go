package session

import "testing"

// Flush waits for what was submitted before it, whatever the numbers: those of tasks that former runs have left
// are less than all of this run.
func TestFlushWaitsForWhatWasSubmittedBefore(t *testing.T) {
	s := &Session{flushed: 1}
	before, after := &Handle{s: s, number: 5<<32 + 1}, &Handle{s: s, number: 4<<32 + 1, flushes: 1}
	f := &flush{number: 1, left: 1, done: make(chan struct{})}
	s.unstored, s.flushes = 2, []*flush{f}
	s.markStored(after)
	select {
	case <-f.done:
		t.Fatal("it has returned, and the task before is not stored")
	default:
	}
	s.markStored(before)
	<-f.done
}

// Deadlines of tasks that have ended before are not kept.
func TestDeadlinesThatMeanNothing(t *testing.T) {
	s := &Session{}
	for range 10 * minIdleDue {
		s.wait(1, 1<<40, 0)
		s.idleDeadline()
	}
	if n := s.due.Len(); n > minIdleDue {
		t.Errorf("%d deadlines are kept", n)
	}
}
