package main

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/engine"
)

// openRow measures latency in an open loop: tasks arrive at a fixed rate, half of the greatest throughput, whether or not
// former ones have ended. The floor runs at half of its own throughput, about a fifteenth of ours, and shows the latency
// that goroutines have on this machine.
func openRow() row {
	return row{
		name: "open loop", about: "no-op tasks at half of the greatest rate, each timed from when it was due",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			c, err := openFloorTrial(ctx, 1)
			if err != nil {
				return nil, err
			}
			return c.trial(
				func(ctx context.Context) (sample, error) {
					most, err := submitThenGetAll(ctx, sc.submits)
					if err != nil {
						return nil, err
					}
					submit := func(i int) (engine.Ref[int], error) { return Noop.Submit(ctx, i), nil }
					return openLoop(ctx, most[rate]/2, sc.open, submit, func(ref engine.Ref[int]) error {
						_, err := ref.Get(ctx)
						return err
					})
				},
				func(ctx context.Context) (sample, error) {
					most, err := c.floor.measure(ctx, sc.floors)
					if err != nil {
						return nil, err
					}
					submit := func(int) (struct{}, error) { return struct{}{}, c.floor.submit() }
					return openLoop(ctx, most[rate]/2, sc.open, submit, func(struct{}) error { return c.floor.await(ctx, 1) })
				},
			), nil
		},
		figures: []figure{
			{"p99", seconds, reading{0, p99}, reading{}, "", atMost(0.005)},
			{"p99", seconds, reading{0, p99}, reading{1, p99}, "floor, at half of its own rate", goal{}},
			{"p50", seconds, reading{0, p50}, reading{1, p50}, "floor, at half of its own rate", goal{}},
			{"rate", perSecond, reading{0, rate}, reading{1, rate}, "floor", goal{}},
		},
	}
}

// openLoop submits tasks at a fixed rate for a duration. The latency of a task is from when its submit was due until its
// result was taken, so that delays of the submit count. Results are taken in the order of the submits.
func openLoop[T any](
	ctx context.Context, perSecond float64, length time.Duration, submit func(i int) (T, error), take func(T) error,
) (sample, error) {
	n := int(perSecond * length.Seconds())
	took := make([]time.Duration, n)
	submitted := make(chan T, n) // capacity for all, so that submits never wait for results to be taken
	failed := make(chan error, 1)
	start := time.Now()
	due := func(i int) time.Time { return start.Add(time.Duration(float64(i) / perSecond * 1e9)) }
	m := startMeter()
	go func() {
		defer close(submitted)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for i := range n {
			if wait := time.Until(due(i)); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C: // tasks that became due during a late wake-up are submitted at once
				case <-ctx.Done():
					failed <- context.Cause(ctx)
					return
				}
			}
			t, err := submit(i)
			if err != nil {
				failed <- err
				return
			}
			submitted <- t
		}
	}()
	for i := range n {
		t, more := <-submitted
		if !more {
			return nil, <-failed
		}
		if err := take(t); err != nil {
			return nil, err
		}
		took[i] = time.Since(due(i))
	}
	return m.stop(n).and(sample{p50: quantile(took, 0.5), p99: quantile(took, 0.99)}), nil
}
