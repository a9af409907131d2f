package main

import (
	"context"
	"fmt"
	"iter"

	"github.com/tidemill/tidemill/engine"
)

// floorBatch is how many tasks the batched floor sends in one message.
const floorBatch = 64

// mapRow is how fast a Map over many small inputs goes. The floor in batches shows what the server alone
// allows: nobody decodes, runs or hands out single tasks there.
func mapRow() row {
	return row{
		name: "map", about: "engine.Map over small inputs (no-op, int to int), results consumed",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			c, err := openContest(ctx, floorBatch)
			if err != nil {
				return nil, err
			}
			return c.trial(
				func(ctx context.Context) (sample, error) { return mapAll(ctx, sc.mapped) },
				func(ctx context.Context) (sample, error) {
					return c.floor.measure(ctx, (sc.mapped+floorBatch-1)/floorBatch)
				},
			), nil
		},
		figures: []figure{
			{"rate", perSecond, reading{0, rate}, reading{}, "", aimed(atLeast(600_000))},
			{"rate", perSecond, reading{0, rate}, reading{1, rate}, "floor, 64 tasks a message", ratioAtLeast(0.5)},
			{"CPU a task", seconds, reading{0, cpu}, reading{1, cpu}, "floor, 64 tasks a message", goal{}},
			{"allocations", count, reading{0, allocs}, reading{}, "", goal{}},
			{"bytes a task", ofBytes, reading{0, size}, reading{}, "", goal{}},
		},
	}
}

func mapAll(ctx context.Context, n int) (sample, error) {
	m := startMeter()
	results := 0
	for _, err := range engine.Map(ctx, Noop, upTo(n)) {
		if err != nil {
			return nil, err
		}
		results++
	}
	if results != n {
		return nil, fmt.Errorf("%d results of %d inputs", results, n)
	}
	return m.stop(n), nil
}

// upTo yields 0 to n-1.
func upTo(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
