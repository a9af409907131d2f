package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Two refers to the results of two tasks.
type Two struct{ A, B engine.Ref[int] }

// Add returns the sum of two results.
var Add = engine.NewFunc("bench-add", func(ctx context.Context, in Two) (int, error) {
	a, errA := in.A.Get(ctx)
	b, errB := in.B.Get(ctx)
	return a + b, errors.Join(errA, errB)
})

// reduceRow measures a tree of reductions whose tasks refer to those below them. All are submitted before a result is read.
func reduceRow() row {
	return row{
		name: "reduce", about: "a tree of reductions through references, 65,536 leaves and 65,535 sums, submitted at once",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			return inCluster(ctx, tidemill.Config{}, func(c *tidemill.Cluster) []side {
				return []side{{"tidemill", func(ctx context.Context) (sample, error) {
					m := startMeter()
					err := reduce(c.Context(ctx), sc.leaves)
					return m.stop(2*sc.leaves - 1), err
				}}}
			})
		},
		figures: []figure{
			{"rate", perSecond, reading{0, rate}, reading{}, "", aimed(atLeast(200_000))},
			{"CPU a task", seconds, reading{0, cpu}, reading{}, "", goal{}},
			{"allocations", count, reading{0, allocs}, reading{}, "", goal{}},
			{"bytes a task", ofBytes, reading{0, size}, reading{}, "", goal{}},
		},
	}
}

// reduce adds the numbers from 0 to leaves-1, and checks the sum; leaves is a power of two.
func reduce(ctx context.Context, leaves int) error {
	level := make([]engine.Ref[int], leaves)
	for i := range level {
		level[i] = Noop.Submit(ctx, i)
	}
	for ; len(level) > 1; level = level[:len(level)/2] {
		for i := range len(level) / 2 {
			level[i] = Add.Submit(ctx, Two{level[2*i], level[2*i+1]})
		}
	}
	sum, err := level[0].Get(ctx)
	if want := leaves * (leaves - 1) / 2; err == nil && sum != want {
		err = fmt.Errorf("sum: got %d, want %d", sum, want)
	}
	return err
}
