package main

import (
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// TestMain lets the rows that measure processes start this one as a child.
func TestMain(m *testing.M) {
	if role := os.Getenv(childVariable); role != "" {
		if act, played := actors[role]; played {
			act()
			return
		}
		child(role)
		return
	}
	os.Exit(m.Run())
}

// tiny is enough to see that a row works.
var tiny = scale{
	name: "tiny", rounds: 1, limit: 30 * time.Second,
	trips: 5, submits: 100, floors: 50, synced: 20, recorded: 2_000, mapped: 2_000, grains: 100, waits: 8,
	fib: 10, leaves: 64, queued: 2_000, open: 20 * time.Millisecond,
	pack: 1, idle: 100 * time.Millisecond, demoDirs: []string{"errors", "iter"},
}

func TestRows(t *testing.T) {
	for _, w := range rows() {
		t.Run(w.name, func(t *testing.T) { runTiny(t, w) })
	}
}

// runTiny runs a row and looks whether each of its figures has been measured.
func runTiny(t *testing.T, w row) {
	w.times = 1
	r, notes := testRunner(t)
	r.scale = tiny
	lines, err := r.run(t.Context(), w)
	if err != nil {
		t.Fatalf("%v\n%s", err, notes)
	}
	for i, l := range lines {
		// Nobody may have used the CPU in so short a time, and what does not allocate is to stay so.
		nothing := l.Unit == percent || w.figures[i].ours.of == allocs
		compared := w.figures[i].other.of != ""
		if l.Ours < 0 || l.Ours == 0 && !nothing || compared != (l.Ratio > 0) && !nothing {
			t.Errorf("%s: %+v", l.Figure, l)
		}
	}
}

func TestRowsHaveNamesOfTheirOwn(t *testing.T) {
	var names []string
	for _, w := range append(rows(), besideRay("").rows...) {
		if slices.Contains(names, w.name) || w.name == "" || w.about == "" || len(w.figures) == 0 {
			t.Errorf("row %q", w.name)
		}
		names = append(names, w.name)
	}
}

func TestDirs(t *testing.T) {
	d := newDirs([]string{"a/1.go", "b/1.go", "a/2.go"})
	if _, complete := d.add("a/1.go", Source{1, 10, 2}); complete {
		t.Error("a is complete with one of two")
	}
	parts, complete := d.add("a/2.go", Source{1, 20, 3})
	if got := sumDir(parts); !complete || got != (Source{2, 30, 5}) {
		t.Errorf("a: %v, %+v", complete, got)
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
	if best < 50*grain || best > 200*grain { // of 100; the machine is shared
		t.Errorf("100 grains take %v", best)
	}
}
