package main

import (
	"bytes"
	"context"
	"errors"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// stage is a row without work, which notes who was on.
type stage struct {
	seen   []string
	fault  error // of side b
	closed bool
}

func (s *stage) row() row {
	on := func(name string, fault error) side {
		return side{name, func(context.Context) (sample, error) {
			s.seen = append(s.seen, name)
			return sample{elapsed: float64(len(s.seen))}, fault
		}}
	}
	return row{
		name: "stage",
		open: func(context.Context, scale) (*trial, error) {
			return &trial{[]side{on("a", nil), on("b", s.fault)}, func() error { s.closed = true; return nil }}, nil
		},
		figures: []figure{{"time", seconds, reading{0, elapsed}, reading{1, elapsed}, "b", ratioAtMost(1)}},
	}
}

func testRunner(t *testing.T) (*runner, *bytes.Buffer) {
	notes := &bytes.Buffer{}
	return &runner{
		scale: scale{rounds: 2, limit: time.Minute}, notes: log.New(notes, "", 0),
		stacks: filepath.Join(t.TempDir(), "results", "stacks.txt"),
	}, notes
}

func TestSidesInTurn(t *testing.T) {
	r, _ := testRunner(t)
	var s stage
	lines, err := r.run(t.Context(), s.row())
	if want := strings.Fields("a b a b a b"); err != nil || !slices.Equal(s.seen, want) || !s.closed {
		t.Errorf("%v; on were %v, closed %v", err, s.seen, s.closed)
	}
	// The first round warms up: what counts begins at 3.
	if want := []Round{{3, 4}, {5, 6}}; len(lines) != 1 || !slices.Equal(lines[0].Rounds, want) {
		t.Errorf("got %+v", lines)
	}
}

func TestAlone(t *testing.T) {
	r, _ := testRunner(t)
	r.alone = true
	dir := t.TempDir()
	r.profiles = profiles{filepath.Join(dir, "cpu"), filepath.Join(dir, "mem"), filepath.Join(dir, "trace")}
	var s stage
	lines, err := r.run(t.Context(), s.row())
	if want := strings.Fields("a a a"); err != nil || !slices.Equal(s.seen, want) {
		t.Errorf("%v; on were %v", err, s.seen)
	}
	if len(lines) != 1 || lines[0].Ours != 2.5 || lines[0].Verdict != "" {
		t.Errorf("got %+v", lines)
	}
	for _, name := range []string{r.profiles.cpu, r.profiles.mem, r.profiles.trace} {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct {
		times int
		once  bool
		want  string
	}{
		{2, false, "a b a b a b a b a b"},
		{2, true, "a b"},
	} {
		r, _ := testRunner(t)
		var s stage
		w := s.row()
		w.times, w.once = c.times, c.once
		if _, err := r.run(t.Context(), w); err != nil || strings.Join(s.seen, " ") != c.want {
			t.Errorf("times %d, once %v: %v; on were %v", c.times, c.once, err, s.seen)
		}
	}
}

func TestFailedRow(t *testing.T) {
	r, notes := testRunner(t)
	s := stage{fault: errors.New("b fell over")}
	lines, err := r.run(t.Context(), s.row())
	if !errors.Is(err, s.fault) || !s.closed {
		t.Errorf("%v; closed %v", err, s.closed)
	}
	if len(lines) != 1 || lines[0].Verdict != failed || lines[0].Target != "ratio ≤ 1" {
		t.Errorf("got %+v", lines)
	}
	if !strings.Contains(notes.String(), "stage               failed: round 1: b: b fell over") {
		t.Errorf("noted %q", notes)
	}
}

// A round that hangs ends with the row's time, and leaves the stacks of what hangs.
func TestHangingRow(t *testing.T) {
	r, _ := testRunner(t)
	r.scale.limit = 10 * time.Millisecond
	hang := row{name: "hang", open: func(context.Context, scale) (*trial, error) {
		return &trial{[]side{{"a", waitForEnd}}, func() error { return nil }}, nil
	}}
	_, err := r.run(t.Context(), hang)
	if err == nil || !strings.Contains(err.Error(), "not done in 10ms") {
		t.Errorf("got %v", err)
	}
	stacks, err := os.ReadFile(r.stacks)
	if err != nil || !strings.Contains(string(stacks), "TestHangingRow") {
		t.Errorf("%v; the stacks are\n%s", err, stacks)
	}
}

func waitForEnd(ctx context.Context) (sample, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
