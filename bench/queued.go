package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Gate waits until gate is closed.
var Gate = engine.NewFunc("bench-gate", func(ctx context.Context, _ engine.None) (engine.None, error) {
	select {
	case <-gate:
		return engine.None{}, nil
	case <-ctx.Done():
		return engine.None{}, context.Cause(ctx)
	}
})

// Queued returns its input. The number of its pending calls is not limited.
var Queued = engine.NewFunc("bench-queued", func(_ context.Context, n int) (int, error) { return n, nil }, engine.Pending(-1))

// gate blocks Gate until queueAndDrain closes it. Rounds do not overlap.
var gate chan struct{}

// queuedRow measures submits while a task holds all CPUs, so that none of them runs, and then running all of them.
func queuedRow() row {
	return row{
		name: "queued", about: "1,000,000 submits, not limited, while no slot is free; then all of them are run", once: true,
		open: func(ctx context.Context, sc scale) (*trial, error) {
			few, err := queueAndDrain(ctx, sc.queued/100) // first, since memory that the larger number leaves behind would count here
			return &trial{
				sides: []side{
					{"all", func(ctx context.Context) (sample, error) { return queueAndDrain(ctx, sc.queued) }},
					{"a hundredth", func(context.Context) (sample, error) { return few, nil }},
				},
				close: func() error { return nil },
			}, err
		},
		figures: []figure{
			{"submitted", perSecond, reading{0, in}, reading{}, "", goal{}},
			{"drained", perSecond, reading{0, rate}, reading{}, "", aimed(atLeast(300_000))},
			{"memory a queued task", ofBytes, reading{0, size}, reading{1, size}, "with a hundredth of them queued", ratioAtMost(1.25)},
		},
	}
}

// settledHeap returns the heap in use when it does not shrink any more: what opened the cluster may still be let go of, and a
// small n has little beside that.
func settledHeap() int64 {
	least := heap()
	for range 20 {
		now := heap()
		if now >= least {
			return now
		}
		least = now
	}
	return least
}

// queueAndDrain submits n tasks in a new cluster while none can run, and then runs them.
func queueAndDrain(ctx context.Context, n int) (s sample, err error) {
	cores := float64(runtime.GOMAXPROCS(0))
	c, err := tidemill.Open(ctx, tidemill.Config{Resources: map[string]float64{"cpu": cores}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeCluster(c)) }()
	ctx = c.Context(ctx)
	gate = make(chan struct{})
	holder := Gate.Submit(ctx, engine.None{}, engine.CPUs(cores))
	refs := make([]engine.Ref[int], n)
	first := Queued.Submit(ctx, 0) // what the first task of a class takes, and gives back, is not counted
	if err := engine.Flush(ctx); err != nil {
		return nil, err
	}
	base := settledHeap()
	start := time.Now()
	for i := range refs {
		refs[i] = Queued.Submit(ctx, i)
	}
	err = engine.Flush(ctx)
	queued := time.Since(start)
	s = sample{in: float64(n) / queued.Seconds(), size: float64(heap()-base) / float64(n)}
	start = time.Now()
	close(gate)
	_, errHolder := holder.Get(ctx)
	_, errFirst := first.Get(ctx)
	got, errAll := engine.GetAll(ctx, refs)
	s[rate] = float64(n) / time.Since(start).Seconds()
	if err = errors.Join(err, errHolder, errFirst, errAll); err == nil && got[n-1] != n-1 {
		err = fmt.Errorf("task %d: got %d, want %d", n-1, got[n-1], n-1)
	}
	return s, err
}
