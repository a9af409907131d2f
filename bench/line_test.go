package main

import (
	"reflect"
	"testing"
)

// The ratio is the median of the rounds' ratios, which one disturbed round does not change.
func TestNewLine(t *testing.T) {
	rounds := [][]sample{
		{{p50: 2}, {p50: 1}},
		{{p50: 30}, {p50: 10}}, // load by other processes slowed both
		{{p50: 8}, {p50: 2}},
	}
	f := figure{"p50", seconds, reading{0, p50}, reading{1, p50}, "floor", ratioAtMost(2)}
	want := Line{
		Row: "trip", Figure: "p50", Unit: seconds, Ours: 8, Other: 2, Against: "floor",
		Ratio: 3, Low: 2, High: 4, Target: "ratio ≤ 2", Verdict: "miss",
		Rounds: []Round{{2, 1}, {30, 10}, {8, 2}},
	}
	if got := newLine("trip", f, rounds); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestNewLineAlone(t *testing.T) {
	f := figure{"p50", seconds, reading{0, p50}, reading{1, p50}, "floor", ratioAtMost(2)}
	l := newLine("trip", f, [][]sample{{{p50: 2}}}) // with a profile, the floor does not run
	if l.Ours != 2 || l.Other != 0 || l.Ratio != 0 || l.Verdict != "" {
		t.Errorf("got ours %v, other %v, ratio %v, verdict %q, want 2, 0, 0 and none", l.Ours, l.Other, l.Ratio, l.Verdict)
	}
}

func TestVerdict(t *testing.T) {
	line := Line{Ours: 10, Other: 4, Ratio: 2.5}
	for _, c := range []struct {
		goal    goal
		verdict string
		text    string
	}{
		{goal{}, "", ""},
		{ratioAtMost(2.5), "ok", "ratio ≤ 2.5"},
		{ratioAtMost(2), "miss", "ratio ≤ 2"},
		{ratioAtLeast(2.5), "ok", "ratio ≥ 2.5"},
		{ratioAtLeast(5), "miss", "ratio ≥ 5"},
		{atMost(10), "ok", "≤ 10/s"},
		{atMost(9), "miss", "≤ 9/s"},
		{atLeast(10), "ok", "≥ 10/s"},
		{aimed(atLeast(11)), "miss", "aim: ≥ 11/s"},
	} {
		if got := c.goal.verdict(line); got != c.verdict {
			t.Errorf("verdict of goal %+v: got %q, want %q", c.goal, got, c.verdict)
		}
		if got := c.goal.text(perSecond); got != c.text {
			t.Errorf("text of goal %+v: got %q, want %q", c.goal, got, c.text)
		}
	}
}
