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

// A harness has a row without work, and records the order of its rounds.
type harness struct {
	ran    []string // sides in the order of their rounds
	fault  error    // returned by rounds of side b
	closed bool
}

func (h *harness) row() row {
	makeSide := func(name string, fault error) side {
		return side{name, func(context.Context) (sample, error) {
			h.ran = append(h.ran, name)
			return sample{elapsed: float64(len(h.ran))}, fault
		}}
	}
	return row{
		name: "harness",
		open: func(context.Context, scale) (*trial, error) {
			return &trial{[]side{makeSide("a", nil), makeSide("b", h.fault)}, func() error { h.closed = true; return nil }}, nil
		},
		figures: []figure{{"time", seconds, reading{0, elapsed}, reading{1, elapsed}, "b", ratioAtMost(1)}},
	}
}

// testRunner returns a runner of two rounds, and its progress messages.
func testRunner(t *testing.T) (*runner, *bytes.Buffer) {
	notes := &bytes.Buffer{}
	return &runner{
		scale: scale{rounds: 2, limit: time.Minute}, notes: log.New(notes, "", 0),
		stacks: filepath.Join(t.TempDir(), "results", "stacks.txt"),
	}, notes
}

func TestSidesTakeTurns(t *testing.T) {
	r, _ := testRunner(t)
	var h harness
	lines, err := r.run(t.Context(), h.row())
	if want := strings.Fields("a b a b a b"); err != nil || !slices.Equal(h.ran, want) || !h.closed {
		t.Errorf("got rounds of %v, closed %v and error %v, want rounds of %v and closed", h.ran, h.closed, err, want)
	}
	// The first round of each side is the warm-up, so the values of the lines begin with 3.
	if want := []Round{{3, 4}, {5, 6}}; len(lines) != 1 || !slices.Equal(lines[0].Rounds, want) {
		t.Errorf("got %+v, want one line with rounds %v", lines, want)
	}
}

func TestAlone(t *testing.T) {
	r, _ := testRunner(t)
	r.alone = true
	dir := t.TempDir()
	r.profiles = profiles{filepath.Join(dir, "cpu"), filepath.Join(dir, "mem"), filepath.Join(dir, "trace")}
	var h harness
	lines, err := r.run(t.Context(), h.row())
	if want := strings.Fields("a a a"); err != nil || !slices.Equal(h.ran, want) {
		t.Errorf("got rounds of %v and error %v, want rounds of %v", h.ran, err, want)
	}
	if len(lines) != 1 || lines[0].Ours != 2.5 || lines[0].Verdict != "" {
		t.Errorf("got %+v, want one line with ours 2.5 and no verdict", lines)
	}
	for _, name := range []string{r.profiles.cpu, r.profiles.mem, r.profiles.trace} {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 {
			t.Errorf("%s: got %v and error %v, want a file that is not empty", name, info, err)
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
		var h harness
		w := h.row()
		w.times, w.once = c.times, c.once
		if _, err := r.run(t.Context(), w); err != nil || strings.Join(h.ran, " ") != c.want {
			t.Errorf("times %d, once %v: got rounds of %v and error %v, want rounds of %s", c.times, c.once, h.ran, err, c.want)
		}
	}
}

func TestFailedRow(t *testing.T) {
	r, notes := testRunner(t)
	h := harness{fault: errors.New("out of memory")}
	lines, err := r.run(t.Context(), h.row())
	if !errors.Is(err, h.fault) || !h.closed {
		t.Errorf("got error %v, closed %v, want %v and closed", err, h.closed, h.fault)
	}
	if len(lines) != 1 || lines[0].Verdict != failed || lines[0].Target != "ratio ≤ 1" {
		t.Errorf("got %+v, want one failed line with target ratio ≤ 1", lines)
	}
	if want := "harness             failed: round 1: b: out of memory"; !strings.Contains(notes.String(), want) {
		t.Errorf("got messages %q, want one with %q", notes, want)
	}
}

// The limit of a row ends a round that hangs, and the stacks of all goroutines are written to a file.
func TestHangingRow(t *testing.T) {
	r, _ := testRunner(t)
	r.scale.limit = 10 * time.Millisecond
	hang := row{name: "hang", open: func(context.Context, scale) (*trial, error) {
		return &trial{[]side{{"a", waitForEnd}}, func() error { return nil }}, nil
	}}
	_, err := r.run(t.Context(), hang)
	if err == nil || !strings.Contains(err.Error(), "not finished within the limit of 10ms") {
		t.Errorf("got error %v, want one with the limit of 10ms", err)
	}
	stacks, err := os.ReadFile(r.stacks)
	if err != nil || !strings.Contains(string(stacks), "TestHangingRow") {
		t.Errorf("got error %v and stacks\n%s\nwant one of TestHangingRow", err, stacks)
	}
}

func waitForEnd(ctx context.Context) (sample, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
