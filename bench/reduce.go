package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Two are results of other tasks.
type Two struct{ A, B engine.Ref[int] }

// Add adds what came with its input.
var Add = engine.NewFunc("bench-add", func(ctx context.Context, in Two) (int, error) {
	a, errA := in.A.Get(ctx)
	b, errB := in.B.Get(ctx)
	return a + b, errors.Join(errA, errB)
})

// reduceRow is a tree of reductions whose tasks refer to those below them: all are submitted before any is looked at.
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

// reduce sums up the numbers below leaves, a power of two, and checks the sum.
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
		err = fmt.Errorf("the sum is %d, and %d came", want, sum)
	}
	return err
}
