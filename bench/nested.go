package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Fib is made of nothing but nested tasks: each above 1 submits two and waits for both.
var Fib *engine.Func[int, int]

func init() { // since it names itself
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

// nestedRow is what a nested task costs, beside what the same recursion costs as calls, each in a goroutine of its own.
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

// fib returns the number, and how many calls make it.
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
		err = fmt.Errorf("fib(%d) is %d, and %d came", n, want, got)
	}
	return m.stop(calls), err
}

func fibGoroutines(n int) (sample, error) {
	want, calls := fib(n)
	m := startMeter()
	got := fibGoroutine(n)
	if got != want {
		return nil, fmt.Errorf("fib(%d) is %d, and %d came", n, want, got)
	}
	return m.stop(calls), nil
}

func fibGoroutine(n int) int {
	if n < 2 {
		return n
	}
	x, y := make(chan int, 1), make(chan int, 1)
	go func() { x <- fibGoroutine(n - 1) }()
	go func() { y <- fibGoroutine(n - 2) }()
	return <-x + <-y
}

// deepRow is how long a chain of tasks takes, of which each waits for the next.
func deepRow() row {
	return row{
		name: "deep", about: "nested tasks 20 deep, each waiting for the next", times: 3,
		open: func(ctx context.Context, sc scale) (*trial, error) {
			return inCluster(ctx, tidemill.Config{}, func(c *tidemill.Cluster) []side {
				return []side{{"tidemill", func(ctx context.Context) (sample, error) {
					return trips(c.Context(ctx), sc.trips/4, goDeep)
				}}}
			})
		},
		figures: []figure{
			{"p50", seconds, reading{0, p50}, reading{}, "", atMost(0.002)},
			{"p99", seconds, reading{0, p99}, reading{}, "", goal{}},
		},
	}
}

// Deep waits for a call of itself, and returns how deep it went.
var Deep *engine.Func[int, int]

func init() { // since it names itself
	Deep = engine.NewFunc("bench-deep", func(ctx context.Context, left int) (int, error) {
		if left == 0 {
			return 0, nil
		}
		below, err := Deep.Submit(ctx, left-1).Get(ctx)
		return below + 1, err
	})
}

const deep = 20

func goDeep(ctx context.Context) error {
	n, err := Deep.Submit(ctx, deep).Get(ctx)
	if err == nil && n != deep {
		err = fmt.Errorf("%d deep, want %d", n, deep)
	}
	return err
}
