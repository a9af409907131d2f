package enginetest_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
)

// heavyTail returns n run times from 5 ms to 2 s with a heavy tail (Pareto, exponent 1.1): one in a hundred is more
// than thirty times the median.
func heavyTail(r *rand.Rand, n int) (times []time.Duration) {
	for range n {
		times = append(times, min(2*time.Second, time.Duration(float64(5*time.Millisecond)*math.Pow(1-r.Float64(), -1/1.1))))
	}
	return times
}

// fewLong returns n run times of 1 ms, except that about one in fifty is a second.
func fewLong(r *rand.Rand, n int) (times []time.Duration) {
	for range n {
		d := time.Millisecond
		if r.IntN(50) == 0 {
			d = time.Second
		}
		times = append(times, d)
	}
	return times
}

// greedy returns how long the tasks take in this order if each slot begins the next task as soon as it is free. No
// scheduler that does not know the run times in advance can promise more (Graham's list scheduling, 1966).
func greedy(times []time.Duration, slots int) time.Duration {
	free := make([]time.Duration, slots)
	for _, d := range times {
		slices.Sort(free)
		free[0] += d
	}
	return slices.Max(free)
}

// Agents share tasks of very different run times nearly as well as if all slots took them from one queue. The ideal is
// computed for the order in which the tasks began: a long task that begins last is bad luck, not bad balance.
func TestAgentsBalanceTheLoad(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		cpus  float64
		times func(r *rand.Rand, n int) []time.Duration
		tasks int
	}{{"heavy tail", 4, 2, heavyTail, 600}, {"few long tasks", 6, 1, fewLong, 300}} {
		for seed := range uint64(8) {
			t.Run(fmt.Sprint(c.name, " seed ", seed), func(t *testing.T) {
				times := c.times(rand.New(rand.NewPCG(seed, 5)), c.tasks)
				expectBalance(t, times, enginetest.Config{Nodes: c.nodes, Resources: map[string]float64{"cpu": c.cpus}})
			})
		}
	}
}

// expectBalance runs tasks that take these times, and expects that all of them take at most a tenth longer than the
// ideal.
func expectBalance(t *testing.T, times []time.Duration, cfg enginetest.Config) {
	t.Helper()
	var mu sync.Mutex
	var began []time.Duration // run times in the order in which tasks began; guarded by mu
	cfg.Registry = engine.NewRegistry()
	f := engine.NewFunc("f", func(_ context.Context, d time.Duration) (int, error) {
		mu.Lock()
		began = append(began, d)
		mu.Unlock()
		passes(d)
		return 0, nil
	}, engine.In(cfg.Registry))
	enginetest.RunAlone(t, cfg, func(t *testing.T, ctx context.Context) {
		begun := time.Now()
		var refs []engine.Ref[int]
		for _, d := range times {
			refs = append(refs, f.Submit(ctx, d))
		}
		_, err := engine.GetAll(ctx, refs)
		check(t, err)
		took, ideal := time.Since(begun), greedy(began, cfg.Nodes*int(cfg.Resources["cpu"]))
		t.Logf("all tasks took %s, the ideal is %s: %.3f", took, ideal, float64(took)/float64(ideal))
		if took > ideal*11/10 {
			t.Errorf("all tasks took %s, want at most a tenth more than the ideal of %s", took, ideal)
		}
	})
}

// When all agents stand still for a second, none of them hands its tasks to the others: they go on with what they have
// and publish hardly more messages than without the pause.
func TestAPauseOfAllAgentsMovesNoTasks(t *testing.T) {
	enginetest.Bubble(t, func(t *testing.T) {
		without, with := messagesFor(t, false), messagesFor(t, true)
		t.Logf("%d messages without a pause, %d with one", without, with)
		if with > without*5/4 {
			t.Errorf("%d messages with a pause, want at most a quarter more than the %d without one", with, without)
		}
	})
}

// messagesFor runs thousands of short tasks on a cluster of its own, and returns how many batches were published. With a
// pause, all tasks wait for a second from the time when half of them have begun.
func messagesFor(t *testing.T, pause bool) uint64 {
	t.Helper()
	const nodes, tasks = 4, 4000
	var once sync.Once
	registry := engine.NewRegistry()
	paused, goOn := make(chan struct{}), make(chan struct{})
	f := engine.NewFunc("f", func(_ context.Context, n int) (int, error) {
		if n == tasks/2 && pause {
			once.Do(func() { close(paused); passes(time.Second); close(goOn) })
		}
		passes(2 * time.Millisecond)
		select {
		case <-paused:
			<-goOn
		default:
		}
		return 0, nil
	}, engine.In(registry))
	ctx := enginetest.Start(t, enginetest.Config{Nodes: nodes, Registry: registry})
	var refs []engine.Ref[int]
	for n := range tasks {
		refs = append(refs, f.Submit(ctx, n))
	}
	_, err := engine.GetAll(ctx, refs)
	check(t, err)
	return enginetest.Published(ctx, t)
}
