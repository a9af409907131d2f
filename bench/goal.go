package main

import "fmt"

// A goal is what a figure is to reach. The zero goal is none: the figure is told for what it tells.
type goal struct {
	most    bool // at most, rather than at least
	bound   float64
	ratio   bool // it is the ratio that counts, not our figure
	aim     bool // to be aimed at, and nobody's promise
	present bool
}

func ratioAtMost(bound float64) goal {
	return goal{most: true, bound: bound, ratio: true, present: true}
}
func ratioAtLeast(bound float64) goal { return goal{bound: bound, ratio: true, present: true} }
func atMost(bound float64) goal       { return goal{most: true, bound: bound, present: true} }
func atLeast(bound float64) goal      { return goal{bound: bound, present: true} }

// aimed marks a goal as one to aim at.
func aimed(g goal) goal {
	g.aim = true
	return g
}

// verdict says whether the line reaches the goal: ok or miss, or nothing if there is no goal.
func (g goal) verdict(l Line) string {
	value := l.Ours
	if g.ratio {
		value = l.Ratio
	}
	switch {
	case !g.present:
		return ""
	case g.ratio && l.Other == 0: // the other side was not run
		return ""
	case g.most && value <= g.bound, !g.most && value >= g.bound:
		return "ok"
	}
	return "miss"
}

// text is the goal as the table has it, of a figure in the unit.
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
