package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
	"github.com/tidemill/tidemill/engine/task"
)

// bench measures this.
func TestRunOfNothing(t *testing.T) {
	begun := time.Now()
	enginetest.Run(t, enginetest.Config{}, func(_ *testing.T, ctx context.Context) {
		if ctx.Err() != nil {
			t.Error(ctx.Err())
		}
	})
	t.Logf("an empty test took %s of real time", time.Since(begun))
}

func TestAnHourPassesInAMoment(t *testing.T) {
	registry := engine.NewRegistry()
	nap := engine.NewFunc("nap", func(ctx context.Context, d time.Duration) (time.Duration, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return d, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, engine.In(registry))
	enginetest.Run(t, enginetest.Config{Nodes: 2, Registry: registry}, func(t *testing.T, ctx context.Context) {
		begun := time.Now()
		var refs []engine.Ref[time.Duration]
		for range 4 {
			refs = append(refs, nap.Submit(ctx, time.Hour))
		}
		if _, err := engine.GetAll(ctx, refs); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}

// A poison task kills its agent each time: ten losses end it, and those beside it are charged three at most.
func TestPoison(t *testing.T) {
	registry := engine.NewRegistry()
	var deaths, runs atomic.Int64
	f := engine.NewFunc("f", func(ctx context.Context, n int) (int, error) {
		runs.Add(1)
		if n == 50 {
			deaths.Add(1)
			enginetest.Kill(ctx, engine.NodeID(ctx))
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return n, nil
	}, engine.In(registry))
	enginetest.Run(t, enginetest.Config{Nodes: 2, Registry: registry}, func(t *testing.T, ctx context.Context) {
		var failed []error
		got := map[int]bool{}
		for v, err := range engine.Map(ctx, f, slices.Values(numbers(100))) {
			if err != nil {
				failed = append(failed, err)
				continue
			}
			got[v] = true
		}
		if len(got) != 99 || got[50] || len(failed) != 1 {
			t.Errorf("%d results, failures %v", len(got), failed)
		}
		if n := deaths.Load(); n != 10 {
			t.Errorf("%d agents died", n)
		}
		t.Log(runs.Load(), "runs; ", failed)
		lost := failed[0]
		if lost == nil || errors.Is(lost, context.Canceled) {
			t.Error(lost)
		}
	})
}

// Those that wait beside a poison task are charged three losses at most, however many wait and wherever: none of
// them fails.
func TestNeighboursOfPoison(t *testing.T) {
	for _, c := range []struct {
		neighbours, nodes int
		cpus              float64
	}{{15, 1, 8}, {7, 2, 4}, {40, 1, 2}} {
		registry := engine.NewRegistry()
		poison := engine.NewFunc("poison", func(ctx context.Context, _ int) (int, error) {
			passes(100 * time.Millisecond)
			enginetest.Kill(ctx, engine.NodeID(ctx))
			return 0, nil
		}, engine.In(registry))
		good := engine.NewFunc("good", func(_ context.Context, n int) (int, error) { passes(time.Second); return n, nil }, engine.In(registry))
		cfg := enginetest.Config{Nodes: c.nodes, Resources: map[string]float64{"cpu": c.cpus}, Registry: registry}
		enginetest.Run(t, cfg, func(t *testing.T, ctx context.Context) {
			lost := poison.Submit(ctx, 0)
			var refs []engine.Ref[int]
			for n := range c.neighbours {
				refs = append(refs, good.Submit(ctx, n))
			}
			if _, err := lost.Get(ctx); err == nil {
				t.Error("poison has a result")
			}
			if _, err := engine.GetAll(ctx, refs); err != nil {
				t.Errorf("%+v: %v", c, err)
			}
		})
	}
}

// A dead letter keeps its size, whatever a task's history, and stands in nobody's way.
func TestLongHistories(t *testing.T) {
	registry := engine.NewRegistry()
	big := engine.NewFunc("big", func(context.Context, []byte) (int, error) {
		panic(strings.Repeat("\x01", 2000))
	}, engine.In(registry), engine.Retries(300))
	small := engine.NewFunc("small", func(context.Context, int) (int, error) { return 0, errors.New("no") }, engine.In(registry), engine.Retries(0))
	enginetest.Run(t, enginetest.Config{Registry: registry}, func(t *testing.T, ctx context.Context) {
		if _, err := big.Submit(ctx, make([]byte, 1<<20)).Get(ctx); err == nil {
			t.Error("no failure")
		}
		if _, err := small.Submit(ctx, 1).Get(ctx); err == nil {
			t.Error("no failure")
		}
		passes(time.Minute)
		for _, fn := range []string{"big", "small"} {
			if n := enginetest.DeadLetters(ctx, t, fn); n != 1 {
				t.Errorf("%s has %d dead letters", fn, n)
			}
		}
	})
}

// A cluster that is used, cut and killed from, again and again, holds no more after the fourth time
// than after the third. What runs in goroutines, the bubble itself finds.
func TestNothingIsLeft(t *testing.T) {
	registry := engine.NewRegistry()
	f := engine.NewFunc("f", func(_ context.Context, n int) (int, error) { return n, nil }, engine.In(registry))
	cfg := enginetest.Config{Nodes: 2, Registry: registry, Faults: enginetest.Faults{Seed: 3, LostReply: 0.02, Cut: 0.002}}
	enginetest.Run(t, cfg, func(t *testing.T, ctx context.Context) {
		var left []int
		for round := range 4 {
			var refs []engine.Ref[int]
			for n := range 200 {
				refs = append(refs, f.Submit(ctx, n, engine.Priority([]task.Level{engine.Low, engine.Normal, engine.High}[n%3])))
			}
			if _, err := engine.GetAll(ctx, refs); err != nil {
				t.Fatal(err)
			}
			enginetest.Kill(ctx, fmt.Sprint("n", 1+round%2))
			if round == 2 {
				enginetest.Calm(ctx) // so that nobody is cut off when it is counted
			}
			check(t, enginetest.Settle(ctx))
			passes(time.Minute)
			left = append(left, enginetest.Subscriptions(ctx))
		}
		if left[3] > left[2] {
			t.Errorf("subscriptions after each round: %d", left)
		}
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func passes(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
