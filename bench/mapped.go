package main

import (
	"context"
	"fmt"
	"iter"

	"github.com/tidemill/tidemill/engine"
)

// floorBatch is how many tasks the floor sends in one message.
const floorBatch = 64

// mapRow measures the throughput of Map over many small inputs. The floor with batches shows the limit of the server: it
// does not decode, run or deliver single tasks.
func mapRow() row {
	return row{
		name: "map", about: "engine.Map over small inputs (no-op, int to int), results consumed",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			c, err := openFloorTrial(ctx, floorBatch)
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
		return nil, fmt.Errorf("got %d results, want %d", results, n)
	}
	return m.stop(n), nil
}

// upTo yields the numbers from 0 to n-1.
func upTo(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
