package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Long tasks wait instead of computing, so that four of them run at once on any machine.
const (
	slots = 4
	long  = 50 * time.Millisecond
)

// inside is the total time that calls of Wait have run, in nanoseconds.
var inside atomic.Int64

// Wait waits for 50 ms.
var Wait = engine.NewFunc("bench-wait", func(ctx context.Context, _ engine.None) (engine.None, error) {
	start := time.Now()
	defer func() { inside.Add(int64(time.Since(start))) }()
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
		return engine.None{}, nil
	case <-ctx.Done():
		return engine.None{}, context.Cause(ctx)
	}
})

// slotsRow measures the share of time in which slots run a function, when tasks are long.
func slotsRow() row {
	return row{
		name: "slots busy", about: "tasks of 50 ms on four slots",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			cfg := tidemill.Config{Resources: map[string]float64{"cpu": slots}}
			return inCluster(ctx, cfg, func(c *tidemill.Cluster) []side {
				return []side{{"tidemill", func(ctx context.Context) (sample, error) {
					return waitAll(c.Context(ctx), sc.waits)
				}}}
			})
		},
		figures: []figure{
			{"share of slot time", ofOne, reading{0, share}, reading{}, "", atLeast(0.95)},
		},
	}
}

// waitAll submits n tasks and gets their results. It returns the share of the slots' time that was spent inside functions.
func waitAll(ctx context.Context, n int) (sample, error) {
	before := inside.Load()
	start := time.Now()
	refs := make([]engine.Ref[engine.None], n)
	for i := range refs {
		refs[i] = Wait.Submit(ctx, engine.None{})
	}
	_, err := engine.GetAll(ctx, refs)
	took := time.Since(start)
	busy := time.Duration(inside.Load() - before)
	return sample{share: busy.Seconds() / (slots * took.Seconds())}, err
}
