package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Fib computes a Fibonacci number by nested tasks: each call with n > 1 submits two tasks and waits for both.
var Fib *engine.Func[int, int]

func init() { // it refers to itself, which an initializer cannot
	Fib = engine.NewFunc("bench-fib", func(ctx context.Context, n int) (int, error) {
		if n < 2 {
			return n, nil
		}
		a, b := Fib.Submit(ctx, n-1), Fib.Submit(ctx, n-2)
		x, errX := a.Get(ctx)
		y, errY := b.Get(ctx)
		return x + y, errors.Join(errX, errY)
	})
}

// nestedRow compares nested tasks with the same recursion in goroutines, one per call.
func nestedRow() row {
	return row{
		name: "nested", about: "fib(25) as 242,785 nested no-op tasks, each waiting for the two below it",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			return inCluster(ctx, tidemill.Config{}, func(c *tidemill.Cluster) []side {
				return []side{
					{"tidemill", func(ctx context.Context) (sample, error) { return fibTasks(c.Context(ctx), sc.fib) }},
					{"goroutines", func(context.Context) (sample, error) { return fibGoroutines(sc.fib) }},
				}
			})
		},
		figures: []figure{
			{"rate", perSecond, reading{0, rate}, reading{}, "", aimed(atLeast(500_000))},
			{"rate", perSecond, reading{0, rate}, reading{1, rate}, "a goroutine and a channel for each", goal{}},
			{"CPU a task", seconds, reading{0, cpu}, reading{1, cpu}, "a goroutine and a channel for each", goal{}},
			{"allocations", count, reading{0, allocs}, reading{1, allocs}, "a goroutine and a channel for each", goal{}},
		},
	}
}

// fib returns the Fibonacci number, and the number of calls that compute it.
func fib(n int) (value, calls int) {
	if n < 2 {
		return n, 1
	}
	x, below1 := fib(n - 1)
	y, below2 := fib(n - 2)
	return x + y, 1 + below1 + below2
}

func fibTasks(ctx context.Context, n int) (sample, error) {
	want, calls := fib(n)
	m := startMeter()
	got, err := Fib.Submit(ctx, n).Get(ctx)
	if err == nil && got != want {
		err = fmt.Errorf("fib(%d): got %d, want %d", n, got, want)
	}
	return m.stop(calls), err
}

func fibGoroutines(n int) (sample, error) {
	want, calls := fib(n)
	m := startMeter()
	got := fibByGoroutines(n)
	if got != want {
		return nil, fmt.Errorf("fib(%d): got %d, want %d", n, got, want)
	}
	return m.stop(calls), nil
}

func fibByGoroutines(n int) int {
	if n < 2 {
		return n
	}
	x, y := make(chan int, 1), make(chan int, 1)
	go func() { x <- fibByGoroutines(n - 1) }()
	go func() { y <- fibByGoroutines(n - 2) }()
	return <-x + <-y
}

// deepRow measures a chain of nested tasks, each of which waits for the next.
func deepRow() row {
	return row{
		name: "deep", about: "nested tasks 20 deep, each waiting for the next", times: 3,
		open: func(ctx context.Context, sc scale) (*trial, error) {
			return inCluster(ctx, tidemill.Config{}, func(c *tidemill.Cluster) []side {
				return []side{{"tidemill", func(ctx context.Context) (sample, error) {
					return trips(c.Context(ctx), sc.trips/4, submitDeep)
				}}}
			})
		},
		figures: []figure{
			{"p50", seconds, reading{0, p50}, reading{}, "", atMost(0.002)},
			{"p99", seconds, reading{0, p99}, reading{}, "", goal{}},
		},
	}
}

// Deep submits itself with left-1 and waits for the result, and returns the depth.
var Deep *engine.Func[int, int]

func init() { // it refers to itself, which an initializer cannot
	Deep = engine.NewFunc("bench-deep", func(ctx context.Context, left int) (int, error) {
		if left == 0 {
			return 0, nil
		}
		below, err := Deep.Submit(ctx, left-1).Get(ctx)
		return below + 1, err
	})
}

const deep = 20

func submitDeep(ctx context.Context) error {
	n, err := Deep.Submit(ctx, deep).Get(ctx)
	if err == nil && n != deep {
		err = fmt.Errorf("got depth %d, want %d", n, deep)
	}
	return err
}
