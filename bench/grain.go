package main

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// grain is the computing time of a task in rows about fine-grained tasks.
const grain = 10 * time.Microsecond

// Spin runs spin for a number of turns, and returns its result.
var Spin = engine.NewFunc("bench-spin", func(_ context.Context, turns int) (int, error) { return spin(turns), nil })

// grainRow measures the naive program: tasks that are too fine-grained, submitted one by one. The pool of goroutines shows
// how close to serial ÷ cores any program comes on this machine.
func grainRow() row {
	return row{
		name: "naive grain", about: "10,000 tasks of 10 µs of computing, submit each, get all", times: 3,
		open: func(ctx context.Context, sc scale) (*trial, error) {
			return inCluster(ctx, tidemill.Config{}, func(c *tidemill.Cluster) []side {
				turns := calibrate(grain)
				return []side{
					{"tidemill", func(ctx context.Context) (sample, error) {
						return spinTasks(c.Context(ctx), sc.grains, turns)
					}},
					{"serial", func(context.Context) (sample, error) { return spinSerial(sc.grains, turns), nil }},
					{"goroutines", func(context.Context) (sample, error) { return spinPool(sc.grains, turns), nil }},
				}
			})
		},
		figures: []figure{
			{"time", seconds, reading{0, elapsed}, reading{1, elapsed}, "serial ÷ cores", aimed(ratioAtMost(1.15))},
			{"time", seconds, reading{0, elapsed}, reading{2, elapsed}, "goroutines, one a core", goal{}},
			{"CPU a task", seconds, reading{0, cpu}, reading{1, cpu}, "serial", goal{}},
		},
	}
}

func spinTasks(ctx context.Context, n, turns int) (sample, error) {
	m := startMeter()
	refs := make([]engine.Ref[int], n)
	for i := range refs {
		refs[i] = Spin.Submit(ctx, turns)
	}
	_, err := engine.GetAll(ctx, refs)
	return m.stop(n), err
}

// spinSerial does the work in a plain loop. The time in its sample is divided by the number of cores.
func spinSerial(n, turns int) sample {
	m := startMeter()
	sum := 0
	for range n {
		sum += spin(turns)
	}
	runtime.KeepAlive(sum) // keeps the compiler from removing the loop
	measured := m.stop(n)
	measured[elapsed] /= float64(runtime.GOMAXPROCS(0))
	return measured
}

// spinPool divides the work between goroutines, one per core.
func spinPool(n, turns int) sample {
	m := startMeter()
	cores := runtime.GOMAXPROCS(0)
	var pool sync.WaitGroup
	for core := range cores {
		pool.Go(func() {
			sum := 0
			for i := core; i < n; i += cores {
				sum += spin(turns)
			}
			runtime.KeepAlive(sum)
		})
	}
	pool.Wait()
	return m.stop(n)
}

// calibrate returns how many turns of spin take the duration d. It uses the fastest of several tries, which other
// processes disturbed least.
func calibrate(d time.Duration) int {
	const turns, tries = 1 << 20, 10
	best := time.Duration(1 << 62)
	for range tries {
		start := time.Now()
		runtime.KeepAlive(spin(turns))
		best = min(best, time.Since(start))
	}
	return int(float64(turns) * d.Seconds() / best.Seconds())
}

// spin uses the CPU: a turn is one step of a xorshift generator.
func spin(turns int) int {
	x := uint64(turns) | 1
	for range turns {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return int(x >> 1)
}
