package main

import "fmt"

// A goal is the bound that a figure has to keep. The zero goal is no goal: the figure is reported for information.
type goal struct {
	most    bool // the bound is an upper one
	bound   float64
	ratio   bool // the bound is on the ratio, not on our value
	aim     bool // an aim, rather than a requirement; only the text differs
	present bool // false in the zero goal
}

func ratioAtMost(bound float64) goal {
	return goal{most: true, bound: bound, ratio: true, present: true}
}
func ratioAtLeast(bound float64) goal { return goal{bound: bound, ratio: true, present: true} }
func atMost(bound float64) goal       { return goal{most: true, bound: bound, present: true} }
func atLeast(bound float64) goal      { return goal{bound: bound, present: true} }

// aimed makes the goal an aim.
func aimed(g goal) goal {
	g.aim = true
	return g
}

// verdict returns whether the line reaches the goal: ok or miss, and "" if there is no goal.
func (g goal) verdict(l Line) string {
	value := l.Ours
	if g.ratio {
		value = l.Ratio
	}
	switch {
	case !g.present:
		return ""
	case g.ratio && l.Other == 0: // the other side did not run
		return ""
	case g.most && value <= g.bound, !g.most && value >= g.bound:
		return "ok"
	}
	return "miss"
}

// text formats the goal of a figure in the unit, for the table.
func (g goal) text(u unit) string {
	if !g.present {
		return ""
	}
	sign, what := "≥", u.text(g.bound)
	if g.most {
		sign = "≤"
	}
	if g.ratio {
		what = fmt.Sprintf("%g", g.bound)
		sign = "ratio " + sign
	}
	if g.aim {
		sign = "aim: " + sign
	}
	return sign + " " + what
}
