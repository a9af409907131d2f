package main

import (
	"context"
	"time"
)

// roundTripRow measures the latency of one task when nothing else runs.
func roundTripRow() row {
	return row{
		name: "round trip", about: "no-op tasks, submit then get, one after the other",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			c, err := openFloorTrial(ctx, 1)
			if err != nil {
				return nil, err
			}
			return c.trial(
				func(ctx context.Context) (sample, error) { return trips(ctx, sc.trips, submitAndGet) },
				func(ctx context.Context) (sample, error) { return trips(ctx, sc.trips, c.floor.trip) },
			), nil
		},
		figures: []figure{
			{"p50", seconds, reading{0, p50}, reading{1, p50}, "floor", ratioAtMost(1.5)},
			{"p99", seconds, reading{0, p99}, reading{1, p99}, "floor", goal{}},
			{"CPU a task", seconds, reading{0, cpu}, reading{1, cpu}, "floor", goal{}},
		},
	}
}

func submitAndGet(ctx context.Context) error {
	_, err := Noop.Submit(ctx, 7).Get(ctx)
	return err
}

// trips makes n round trips, one after another, and measures each.
func trips(ctx context.Context, n int, trip func(ctx context.Context) error) (sample, error) {
	took := make([]time.Duration, n)
	m := startMeter()
	for i := range took {
		start := time.Now()
		if err := trip(ctx); err != nil {
			return nil, err
		}
		took[i] = time.Since(start)
	}
	return m.stop(n).and(sample{p50: quantile(took, 0.5), p99: quantile(took, 0.99)}), nil
}
