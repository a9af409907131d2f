package session

import (
	"testing"
	"time"
)

// A batch is under way until as many tasks have ended as were sent with it and with the batches before it.
func TestWindow(t *testing.T) {
	var w window
	expect := func(what string, open int) {
		t.Helper()
		if w.open() != open {
			t.Errorf("%s: %d batches are under way, want %d", what, w.open(), open)
		}
	}
	end := func(n int) {
		for range n {
			w.end()
		}
	}
	expect("at first", 0)
	end(1)
	expect("after the end of a task that was never sent", 0)
	w.send(3)
	w.send(1)
	w.send(2)
	expect("three sent", 3)
	end(2)
	expect("two tasks ended", 3)
	end(1)
	expect("three tasks ended", 2)
	end(2)
	expect("five tasks ended", 1)
	w.reset()
	expect("after a reset", 0)
	w.send(1)
	end(1)
	expect("one sent and ended", 0)
}

// While agents have more batches than they can use, waiting tasks are held back until they make a full batch, but not for
// long.
func TestHeld(t *testing.T) {
	now := time.Now()
	l := &lane{slots: 2, hold: now.Add(longestHold)}
	l.waiting.push(1)
	for range batchesASlot*l.slots + batchesMore - 1 {
		l.window.send(1)
	}
	if l.held(now) {
		t.Error("the lane is held, want it not to be: the window is not full")
	}
	l.window.send(1)
	if !l.held(now) {
		t.Error("the lane is not held, want it to be: the window is full")
	}
	if l.held(now.Add(longestHold)) {
		t.Error("the lane is still held after longestHold, want it not to be")
	}
	l.waiting.putBack(make([]uint64, BatchTasks))
	if l.held(now) {
		t.Error("the lane is held, want it not to be: it has a full batch")
	}
}
