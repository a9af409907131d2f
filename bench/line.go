package main

import "slices"

// Line is one figure of a row in the report.
type Line struct {
	Row     string  `json:"row"`
	Figure  string  `json:"figure"`
	Unit    unit    `json:"unit"`
	Ours    float64 `json:"ours"`            // median of the rounds
	Other   float64 `json:"other,omitempty"` // median of the rounds; 0 if there is nothing to compare with
	Against string  `json:"against,omitempty"`

	// Ratio is the median of the rounds' ratios, ours ÷ other: load by other processes affects both sides of a
	// round, so it varies less than the ratio of the medians. 0 if there is nothing to compare with.
	Ratio float64 `json:"ratio,omitempty"`
	Low   float64 `json:"low,omitempty"`  // least ratio of a round
	High  float64 `json:"high,omitempty"` // greatest ratio of a round

	Target  string  `json:"target,omitempty"`
	Verdict string  `json:"verdict,omitempty"` // ok, miss, failed, or nothing if there is no target; with -against see compare.go
	Rounds  []Round `json:"rounds,omitempty"`
}

// failed is the verdict of all lines of a row that was not measured.
const failed = "failed"

// Round has the values of a figure in one round.
type Round struct {
	Ours  float64 `json:"ours"`
	Other float64 `json:"other,omitempty"`
}

// newLine computes the line of a figure from the samples of all sides, by round.
func newLine(row string, f figure, rounds [][]sample) Line {
	l := Line{Row: row, Figure: f.name, Unit: f.unit, Against: f.against, Target: f.goal.text(f.unit)}
	var ours, others, ratios []float64
	for _, sides := range rounds {
		r := Round{Ours: sides[f.ours.side][f.ours.of]}
		ours = append(ours, r.Ours)
		if f.other.of != "" && f.other.side < len(sides) {
			r.Other = sides[f.other.side][f.other.of]
			others = append(others, r.Other)
			ratios = append(ratios, ratio(r.Ours, r.Other))
		}
		l.Rounds = append(l.Rounds, r)
	}
	l.Ours, l.Other, l.Ratio = median(ours), median(others), median(ratios)
	if len(ratios) > 0 {
		l.Low, l.High = slices.Min(ratios), slices.Max(ratios)
	}
	l.Verdict = f.goal.verdict(l)
	return l
}

// ratio returns a ÷ b, and 0 if b is 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
