package main

import (
	"context"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// openRow is how long tasks take that come when they come, at half of what the cluster can do at most.
func openRow() row {
	return row{
		name: "open loop", about: "no-op tasks at half of the greatest rate, each timed from when it was to begin",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			return inCluster(ctx, tidemill.Config{}, func(c *tidemill.Cluster) []side {
				return []side{{"tidemill", func(ctx context.Context) (sample, error) {
					ctx = c.Context(ctx)
					most, err := submitThenGetAll(ctx, sc.submits)
					if err != nil {
						return nil, err
					}
					return openLoop(ctx, most[rate]/2, sc.open)
				}}}
			})
		},
		figures: []figure{
			{"p99", seconds, reading{0, p99}, reading{}, "", atMost(0.005)},
			{"p50", seconds, reading{0, p50}, reading{}, "", goal{}},
			{"rate", perSecond, reading{0, rate}, reading{}, "", goal{}},
		},
	}
}

// openLoop submits so many tasks a second for a while, whatever becomes of them. A task's time is from when it was
// to be submitted until its result was taken; they are taken in order. What stands in a task's way counts.
func openLoop(ctx context.Context, perSecond float64, length time.Duration) (sample, error) {
	n := int(perSecond * length.Seconds())
	took := make([]time.Duration, n)
	refs := make(chan engine.Ref[int], n) // so that nobody waits for who takes results
	start := time.Now()
	due := func(i int) time.Time { return start.Add(time.Duration(float64(i) / perSecond * 1e9)) }
	m := startMeter()
	go func() {
		defer close(refs)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for i := range n {
			if wait := time.Until(due(i)); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C: // what is due meanwhile goes at once afterwards
				case <-ctx.Done():
					return
				}
			}
			refs <- Noop.Submit(ctx, i)
		}
	}()
	for i := range n {
		ref, more := <-refs
		if !more {
			return nil, context.Cause(ctx)
		}
		if _, err := ref.Get(ctx); err != nil {
			return nil, err
		}
		took[i] = time.Since(due(i))
	}
	return m.stop(n).and(sample{p50: quantile(took, 0.5), p99: quantile(took, 0.99)}), nil
}
