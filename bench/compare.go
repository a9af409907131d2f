package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"time"
)

// A comparison runs rows with the builds of two checkouts, in turn. Each round of each build is a process of its own, so
// that neither has a heap that the other has grown.
type comparison struct {
	ours, other build
	scale       scale
	notes       *log.Logger // progress
	home        string      // folder of the programs and of their reports; removed by close
	commit      string      // of the other checkout; empty until a report of it has been read
}

// onceRounds limits the rounds of rows with once set: one round of them takes seconds, and is itself a median.
const onceRounds = 5

// Verdicts of a comparison; a line within the noise has none.
const (
	better   = "better"
	worse    = "worse"
	onlyHere = "only here" // the other build does not have the row, or the figure
)

// openComparison builds the bench programs of this checkout, whose folder bench is the current one, and of the one in
// dir.
func openComparison(ctx context.Context, dir string, sc scale, notes *log.Logger) (*comparison, error) {
	oursIn, err1 := benchFolder("..")
	otherIn, err2 := benchFolder(dir)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("-against: %w", err)
	}
	home, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	c := &comparison{scale: sc, notes: notes, home: home}
	c.ours, err1 = newBuild(ctx, oursIn, filepath.Join(home, "ours"))
	c.other, err2 = newBuild(ctx, otherIn, filepath.Join(home, "other"))
	if err := errors.Join(err1, err2); err != nil {
		return nil, errors.Join(fmt.Errorf("-against: %w", err), c.close())
	}
	return c, nil
}

func (c *comparison) close() error { return os.RemoveAll(c.home) }

// run measures a row with both builds, with the same number of rounds. If a round fails, the verdict of each line is failed.
func (c *comparison) run(ctx context.Context, w row) ([]Line, error) {
	start := time.Now()
	n := c.scale.rounds
	if w.once {
		n = min(n, onceRounds)
	}
	var ours, others []Report
	for i := range n {
		our, other, err := c.round(ctx, w)
		if errors.Is(err, errNoRow) {
			c.notes.Printf("%-19s the other checkout has no such row", w.name)
			return compareReports(w, []Report{our}, nil), nil
		}
		if err != nil {
			c.notes.Printf("%-19s failed: round %d: %v", w.name, i+1, err)
			return compareFailed(w), fmt.Errorf("round %d: %w", i+1, err)
		}
		ours, others = append(ours, our), append(others, other)
	}
	c.notes.Printf("%-19s %d rounds of each build, %.1f s", w.name, n, time.Since(start).Seconds())
	return compareReports(w, ours, others), nil
}

// round runs a row once with each build, this checkout's first. The error is errNoRow if the other build alone does not
// have the row.
func (c *comparison) round(ctx context.Context, w row) (ours, other Report, err error) {
	ours, err = c.ours.round(ctx, c.scale, w.name, filepath.Join(c.home, "ours.json"))
	if err != nil {
		return ours, other, fmt.Errorf("this checkout: %v", err) //nolint:errorlint // its errNoRow is a failure like others
	}
	other, err = c.other.round(ctx, c.scale, w.name, filepath.Join(c.home, "other.json"))
	if err != nil {
		return ours, other, fmt.Errorf("the other checkout: %w", err)
	}
	c.commit = cmp.Or(c.commit, other.Machine.Commit)
	return ours, other, nil
}

// compareReports returns a line for each figure of our side of the row, from the reports of both builds, by round.
func compareReports(w row, ours, others []Report) []Line {
	var lines []Line
	for _, f := range ourFigures(w) {
		here, _ := ourValues(ours, w.name, f.name)
		there, found := ourValues(others, w.name, f.name)
		var rounds [][]sample
		for i := range here {
			sides := []sample{{f.ours.of: here[i]}}
			if found {
				sides = append(sides, sample{f.ours.of: there[i]})
			}
			rounds = append(rounds, sides)
		}
		pair := figure{name: f.name, unit: f.unit, ours: reading{0, f.ours.of}, other: reading{1, f.ours.of}}
		l := newLine(w.name, pair, rounds)
		l.Verdict = onlyHere
		if found {
			l.Verdict = l.difference()
		}
		lines = append(lines, l)
	}
	return lines
}

func compareFailed(w row) []Line {
	var lines []Line
	for _, f := range ourFigures(w) {
		lines = append(lines, Line{Row: w.name, Figure: f.name, Unit: f.unit, Verdict: failed})
	}
	return lines
}

// ourFigures returns one figure of each name in a row. Figures with the same name have the same value on our side, and
// compare it with different sides.
func ourFigures(w row) []figure {
	var figures []figure
	seen := map[string]bool{}
	for _, f := range w.figures {
		if !seen[f.name] {
			figures = append(figures, f)
		}
		seen[f.name] = true
	}
	return figures
}

// leastDifference is by how much a ratio has to differ from 1 to count. Rounds agree on smaller differences as well, where
// a figure hardly varies, as allocations do.
const leastDifference = 0.01

// difference returns whether this checkout is better or worse than the other, and "" if the difference may be noise.
func (l Line) difference() string {
	greater, less := 0, 0
	for _, r := range l.Rounds {
		switch {
		case r.Ours > r.Other:
			greater++
		case r.Ours < r.Other:
			less++
		}
	}
	enough := agreeing(len(l.Rounds))
	switch {
	case math.Abs(l.Ratio-1) < leastDifference, max(greater, less) < enough:
		return ""
	case (greater >= enough) == l.Unit.moreIsBetter():
		return better
	}
	return worse
}

// marksText explains the marks in the table.
func marksText(rounds int) string {
	const legend = "A ratio is the median of the rounds' ratios, ours ÷ other, and the range is theirs. "
	if enough := agreeing(rounds); enough <= rounds {
		return legend + fmt.Sprintf("Better and worse: %d of %d rounds agree, and the ratio differs by 1 %% or more; the rest is noise.", enough, rounds)
	}
	return legend + fmt.Sprintf("%d rounds are too few to tell a difference from noise: take 5 or more.", rounds)
}

// chance is how often rounds of two equal builds may agree that one is better: five of five rounds do so as often.
const chance = 1.0 / 16

// agreeing returns how many of n rounds have to agree for a difference to count (a two-sided sign test): 5 of 5, 10 of
// 11. It is more than n if n rounds are too few.
func agreeing(n int) int {
	ways, tail := 1.0, 0.0 // how many of the 2^n outcomes have m rounds for one build; at least m
	for m := n; m > n/2; m-- {
		tail += ways
		if 2*tail/math.Exp2(float64(n)) > chance {
			return m + 1
		}
		ways *= float64(m) / float64(n-m+1)
	}
	return n/2 + 1
}
