package session

import (
	"testing"
	"time"
)

// Batches are under way until as many tasks have ended as were sent with them and before.
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
	expect("after the end of what was never sent", 0)
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

// What waits is held back while agents have more batches than they can use, until it makes a full one, and not for long.
func TestHeld(t *testing.T) {
	now := time.Now()
	l := &lane{slots: 2, hold: now.Add(longestHold)}
	l.waiting.push(1)
	for range batchesASlot*l.slots + batchesMore - 1 {
		l.window.send(1)
	}
	if l.held(now) {
		t.Error("held with a window that has room")
	}
	l.window.send(1)
	if !l.held(now) {
		t.Error("not held with a full window")
	}
	if l.held(now.Add(longestHold)) {
		t.Error("held for longer than is promised")
	}
	l.waiting.putBack(make([]uint64, BatchTasks))
	if l.held(now) {
		t.Error("a full batch is held")
	}
}
