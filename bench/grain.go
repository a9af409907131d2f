package main

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// grain is how much a task of the naive program computes.
const grain = 10 * time.Microsecond

// Spin computes for as many turns as it is told, and returns what came out, so that no compiler leaves
// it out.
var Spin = engine.NewFunc("bench-spin", func(_ context.Context, turns int) (int, error) { return spin(turns), nil })

// grainRow is the naive program: far too fine tasks, submitted one by one. A pool of goroutines shows how
// much of serial ÷ cores this machine gives to anybody just now.
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

// spinSerial does the work in a plain loop, and returns its time by the number of cores.
func spinSerial(n, turns int) sample {
	m := startMeter()
	sum := 0
	for range n {
		sum += spin(turns)
	}
	runtime.KeepAlive(sum) // so that no compiler leaves out what nobody asks for
	measured := m.stop(n)
	measured[elapsed] /= float64(runtime.GOMAXPROCS(0))
	return measured
}

// spinPool does the work in a goroutine for each core, each with its share.
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

// calibrate returns how many turns of spin take so long, when nothing disturbs it.
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

// spin computes: one turn is one step of a xorshift generator.
func spin(turns int) int {
	x := uint64(turns) | 1
	for range turns {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return int(x >> 1)
}
