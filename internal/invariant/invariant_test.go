package invariant_test

import (
	"testing"

	"github.com/tidemill/tidemill/internal/invariant"
)

func TestCheckPassesWhatHolds(t *testing.T) {
	if got := panicOf(func() { invariant.Check(true, "task %d", 7) }); got != nil {
		t.Errorf("Check(true) panicked: %v", got)
	}
}

func TestCheckStopsWhatDoesNot(t *testing.T) {
	var want any
	if invariant.Enabled {
		want = "invariant broken: task 7 resolved twice"
	}
	got := panicOf(func() { invariant.Check(false, "task %d resolved %s", 7, "twice") })
	if got != want {
		t.Errorf("Enabled = %v: Check(false) panicked with %v, want %v", invariant.Enabled, got, want)
	}
}

func TestUnreachableAlwaysStops(t *testing.T) {
	want := "invariant broken: state 9"
	if got := panicOf(func() { invariant.Unreachable("state %d", 9) }); got != want {
		t.Errorf("Unreachable panicked with %v, want %v", got, want)
	}
}

func BenchmarkCheck(b *testing.B) {
	tasks, name := 1000, "split"
	for b.Loop() {
		tasks++
		invariant.Check(tasks > 0, "%d tasks of %s", tasks, name)
	}
}

func panicOf(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}
