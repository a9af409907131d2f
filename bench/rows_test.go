package main

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// TestMain runs a fake or a child instead of the tests, in processes that tests start.
func TestMain(m *testing.M) {
	if role := os.Getenv(childVariable); role != "" {
		if fake, found := fakes[role]; found {
			fake()
			return
		}
		child(role)
		return
	}
	os.Exit(m.Run())
}

// tiny is the scale of tests that only check that a row works.
var tiny = scale{
	name: "tiny", rounds: 1, limit: 30 * time.Second,
	trips: 5, submits: 100, floors: 50, synced: 20, recorded: 2_000, mapped: 2_000, grains: 100, waits: 8,
	fib: 10, leaves: 64, queued: 2_000, open: 20 * time.Millisecond,
	idlers: 1, idle: 100 * time.Millisecond, demoDirs: []string{"errors", "iter"},
}

func TestRows(t *testing.T) {
	for _, w := range rows() {
		t.Run(w.name, func(t *testing.T) { runTiny(t, w) })
	}
}

// runTiny runs a row and checks that each of its figures has been measured.
func runTiny(t *testing.T, w row) {
	w.times = 1
	r, notes := testRunner(t)
	r.scale = tiny
	lines, err := r.run(t.Context(), w)
	if err != nil {
		t.Fatalf("%v\n%s", err, notes)
	}
	for i, l := range lines {
		// In so short a time, the CPU time may be 0. The number of allocations may be 0 as well.
		mayBeZero := l.Unit == percent || w.figures[i].ours.of == allocs
		compared := w.figures[i].other.of != ""
		if l.Ours < 0 || l.Ours == 0 && !mayBeZero || compared != (l.Ratio > 0) && !mayBeZero {
			t.Errorf("%s: got %+v, want a value, and a ratio: %v", l.Figure, l, compared)
		}
	}
}

func TestRowsHaveUniqueNames(t *testing.T) {
	var names []string
	for _, w := range append(rows(), besideRay("").rows...) {
		if slices.Contains(names, w.name) || w.name == "" || w.about == "" || len(w.figures) == 0 {
			t.Errorf("row %q: got about %q and %d figures, want a unique name, a description and figures", w.name, w.about, len(w.figures))
		}
		names = append(names, w.name)
	}
}

func TestDirs(t *testing.T) {
	d := newDirs([]string{"a/1.go", "b/1.go", "a/2.go"})
	if _, complete := d.add("a/1.go", Source{1, 10, 2}); complete {
		t.Error("directory a after one of two files: got complete, want not complete")
	}
	parts, complete := d.add("a/2.go", Source{1, 20, 3})
	if got := sumDir(parts); !complete || got != (Source{2, 30, 5}) {
		t.Errorf("directory a after both files: got complete %v and %+v, want true and %+v", complete, got, Source{2, 30, 5})
	}
}

func TestSpinTakesAsLongAsCalibrated(t *testing.T) {
	turns := calibrate(grain)
	best := time.Hour
	for range 100 {
		start := time.Now()
		runtime.KeepAlive(spin(100 * turns))
		best = min(best, time.Since(start))
	}
	if best < 50*grain || best > 200*grain { // the machine is shared with other processes
		t.Errorf("got %v for 100 grains, want 50 to 200 times %v", best, grain)
	}
}
