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

// The log line is read by the benchmark "virtual time", which runs this test alone.
func TestRunOfNothing(t *testing.T) {
	begun := time.Now()
	enginetest.Run(t, enginetest.Config{}, func(t *testing.T, ctx context.Context) {
		if err := ctx.Err(); err != nil {
			t.Errorf("the context of a test that has just begun: got %v, want no error", err)
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
	enginetest.RunAlone(t, enginetest.Config{Nodes: 2, Registry: registry}, func(t *testing.T, ctx context.Context) {
		begun := time.Now()
		var refs []engine.Ref[time.Duration]
		for range 4 {
			refs = append(refs, nap.Submit(ctx, time.Hour))
		}
		_, err := engine.GetAll(ctx, refs)
		check(t, err)
		if took := time.Since(begun); took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("four tasks of an hour on four CPUs took %s of virtual time, want an hour, and a minute more at most", took)
		}
	})
}

// A task that kills its agent each time it runs fails after ten losses. All other tasks of the same batch succeed.
func TestPoison(t *testing.T) {
	const tasks, poison = 100, 50
	registry := engine.NewRegistry()
	var deaths, runs atomic.Int64
	f := engine.NewFunc("f", func(ctx context.Context, n int) (int, error) {
		runs.Add(1)
		if n == poison {
			deaths.Add(1)
			enginetest.Kill(ctx, engine.NodeID(ctx))
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return n, nil
	}, engine.In(registry))
	enginetest.RunAlone(t, enginetest.Config{Nodes: 2, Registry: registry}, func(t *testing.T, ctx context.Context) {
		var failed []error
		got := map[int]bool{}
		for v, err := range engine.Map(ctx, f, slices.Values(numbers(tasks))) {
			if err != nil {
				failed = append(failed, err)
				continue
			}
			got[v] = true
		}
		if len(got) != tasks-1 || got[poison] {
			t.Errorf("%d tasks succeeded (the poison task: %v), want all %d but the poison task", len(got), got[poison], tasks)
		}
		var failure *task.Failure
		if len(failed) != 1 || !errors.As(failed[0], &failure) || failure.Kind != task.KindLost {
			t.Errorf("failures %v, want one, of the kind %q", failed, task.KindLost)
		}
		if n := deaths.Load(); n != 10 {
			t.Errorf("%d agents died, want 10", n)
		}
		t.Log(runs.Load(), "runs; ", failed)
	})
}

// Tasks that run or wait on the same agent as a poison task are charged three losses at most, however many there are: none
// of them fails.
func TestNeighboursOfPoison(t *testing.T) {
	for _, c := range []struct {
		neighbours, nodes int
		cpus              float64
	}{{15, 1, 8}, {7, 2, 4}, {40, 1, 2}} {
		t.Run(fmt.Sprintf("%d neighbours on %d nodes", c.neighbours, c.nodes), func(t *testing.T) {
			registry := engine.NewRegistry()
			poison := engine.NewFunc("poison", func(ctx context.Context, _ int) (int, error) {
				passes(100 * time.Millisecond)
				enginetest.Kill(ctx, engine.NodeID(ctx))
				return 0, nil
			}, engine.In(registry))
			good := engine.NewFunc("good", func(_ context.Context, n int) (int, error) { passes(time.Second); return n, nil }, engine.In(registry))
			cfg := enginetest.Config{Nodes: c.nodes, Resources: map[string]float64{"cpu": c.cpus}, Registry: registry}
			enginetest.RunAlone(t, cfg, func(t *testing.T, ctx context.Context) {
				lost := poison.Submit(ctx, 0)
				var refs []engine.Ref[int]
				for n := range c.neighbours {
					refs = append(refs, good.Submit(ctx, n))
				}
				if v, err := lost.Get(ctx); err == nil {
					t.Errorf("the poison task returned %d, want a failure", v)
				}
				if _, err := engine.GetAll(ctx, refs); err != nil {
					t.Errorf("the neighbours ended with %v, want no failure", err)
				}
			})
		})
	}
}

// A dead letter has a limited size, however long the history of its task, and does not keep others from being published.
func TestDeadLettersOfLongHistories(t *testing.T) {
	registry := engine.NewRegistry()
	big := engine.NewFunc("big", func(context.Context, []byte) (int, error) {
		panic(strings.Repeat("\x01", 2000))
	}, engine.In(registry), engine.Retries(300))
	small := engine.NewFunc("small", func(context.Context, int) (int, error) { return 0, errors.New("no") }, engine.In(registry), engine.Retries(0))
	enginetest.Run(t, enginetest.Config{Registry: registry}, func(t *testing.T, ctx context.Context) {
		if v, err := big.Submit(ctx, make([]byte, 1<<20)).Get(ctx); err == nil {
			t.Errorf("a function that panics returned %d, want a failure", v)
		}
		if v, err := small.Submit(ctx, 1).Get(ctx); err == nil {
			t.Errorf("a function that fails returned %d, want a failure", v)
		}
		passes(time.Minute)
		for _, fn := range []string{"big", "small"} {
			if n := enginetest.DeadLetters(ctx, t, fn); n != 1 {
				t.Errorf("%s has %d dead letters, want 1", fn, n)
			}
		}
	})
}

// A cluster whose connections are cut and whose agents die, again and again, has no more subscriptions after the fourth
// round than after the third. Goroutines that are left would keep the bubble from ending.
func TestNoSubscriptionIsLeft(t *testing.T) {
	registry := engine.NewRegistry()
	f := engine.NewFunc("f", func(_ context.Context, n int) (int, error) { return n, nil }, engine.In(registry))
	cfg := enginetest.Config{Nodes: 2, Registry: registry, Faults: enginetest.Faults{Seed: 3, LostReply: 0.02, Cut: 0.002}}
	enginetest.RunAlone(t, cfg, func(t *testing.T, ctx context.Context) {
		var left []int
		for round := range 4 {
			var refs []engine.Ref[int]
			for n := range 200 {
				refs = append(refs, f.Submit(ctx, n, engine.Priority([]task.Level{engine.Low, engine.Normal, engine.High}[n%3])))
			}
			_, err := engine.GetAll(ctx, refs)
			check(t, err)
			enginetest.Kill(ctx, fmt.Sprint("n", 1+round%2))
			if round == 2 {
				enginetest.Calm(ctx) // a connection that is cut while they are counted would have none
			}
			check(t, enginetest.Settle(ctx))
			passes(time.Minute)
			left = append(left, enginetest.Subscriptions(ctx))
		}
		if left[3] > left[2] {
			t.Errorf("subscriptions after each round: %d, want no more after the fourth than after the third", left)
		}
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got the error %v, want none", err)
	}
}

// passes returns when so much time has passed, which in a bubble is virtual time.
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
