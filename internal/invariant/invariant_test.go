package invariant_test

import (
	"testing"

	"github.com/tidemill/tidemill/internal/invariant"
)

func TestCheckOfATrueConditionDoesNothing(t *testing.T) {
	if got := panicOf(func() { invariant.Check(true, "task %d", 7) }); got != nil {
		t.Errorf("Check(true): got panic %v, want none", got)
	}
}

func TestCheckOfAFalseConditionPanics(t *testing.T) {
	var want any
	if invariant.Enabled {
		want = "invariant broken: task 7 resolved twice"
	}
	got := panicOf(func() { invariant.Check(false, "task %d resolved %s", 7, "twice") })
	if got != want {
		t.Errorf("Check(false) with Enabled = %v: got panic %v, want %v", invariant.Enabled, got, want)
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
