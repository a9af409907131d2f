package main

import (
	"context"

	"github.com/tidemill/tidemill/engine"
)

// submitRow measures the throughput of many single submits.
func submitRow() row {
	return row{
		name: "submit all", about: "no-op tasks: submit one by one, then get all",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			c, err := openFloorTrial(ctx, 1)
			if err != nil {
				return nil, err
			}
			return c.trial(
				func(ctx context.Context) (sample, error) { return submitThenGetAll(ctx, sc.submits) },
				func(ctx context.Context) (sample, error) { return c.floor.measure(ctx, sc.floors) },
			), nil
		},
		figures: []figure{
			{"rate", perSecond, reading{0, rate}, reading{1, rate}, "floor, one message a task", ratioAtLeast(5)},
			{"rate", perSecond, reading{0, rate}, reading{}, "", aimed(atLeast(300_000))},
			{"CPU a task", seconds, reading{0, cpu}, reading{1, cpu}, "floor, one message a task", goal{}},
			{"allocations", count, reading{0, allocs}, reading{1, allocs}, "floor, one message a task", goal{}},
			{"bytes a task", ofBytes, reading{0, size}, reading{1, size}, "floor, one message a task", goal{}},
		},
	}
}

func submitThenGetAll(ctx context.Context, n int) (sample, error) {
	m := startMeter()
	_, err := engine.GetAll(ctx, submitted(ctx, n))
	return m.stop(n), err
}
