package enginetest_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
)

// heavy returns run times of a heavy tail (Pareto, exponent 1.1), of 5 ms to 2 s: one in a hundred takes thirty times the
// median and more.
func heavy(r *rand.Rand, n int) (times []time.Duration) {
	for range n {
		times = append(times, min(2*time.Second, time.Duration(float64(5*time.Millisecond)*math.Pow(1-r.Float64(), -1/1.1))))
	}
	return times
}

// rare returns run times of 1 ms, but for one in fifty that takes a second.
func rare(r *rand.Rand, n int) (times []time.Duration) {
	for range n {
		d := time.Millisecond
		if r.IntN(50) == 0 {
			d = time.Second
		}
		times = append(times, d)
	}
	return times
}

// greedy returns when all would be done if each slot, once it is free, began the next task at once: the ideal for who
// does not know how long tasks will take (Graham's list scheduling, 1966).
func greedy(times []time.Duration, slots int) time.Duration {
	free := make([]time.Duration, slots)
	for _, d := range times {
		slices.Sort(free)
		free[0] += d
	}
	return slices.Max(free)
}

// Whatever tasks take, known or not, agents share them such that all are done about as soon as if there were one queue,
// and each slot took from it what comes next. In which order tasks begin is no matter: who begins the longest last was
// unlucky.
func TestBalance(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		cpus  float64
		times func(r *rand.Rand, n int) []time.Duration
		tasks int
	}{{"heavy", 4, 2, heavy, 600}, {"rare", 6, 1, rare, 300}} {
		for seed := range uint64(8) {
			took, ideal := balance(t, c.times(rand.New(rand.NewPCG(seed, 5)), c.tasks), enginetest.Config{
				Nodes: c.nodes, Resources: map[string]float64{"cpu": c.cpus},
			})
			t.Logf("%s, seed %d: %s, ideal %s: %.3f", c.name, seed, took, ideal, float64(took)/float64(ideal))
			if took > ideal*11/10 {
				t.Errorf("%s, seed %d: %s, and the ideal is %s", c.name, seed, took, ideal)
			}
		}
	}
}

// balance runs tasks that take so long, and returns how long all took, and the ideal for the order in which they began.
func balance(t *testing.T, times []time.Duration, cfg enginetest.Config) (took, ideal time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var began []time.Duration
	cfg.Registry = engine.NewRegistry()
	f := engine.NewFunc("f", func(_ context.Context, d time.Duration) (int, error) {
		mu.Lock()
		began = append(began, d)
		mu.Unlock()
		passes(d)
		return 0, nil
	}, engine.In(cfg.Registry))
	enginetest.Run(t, cfg, func(t *testing.T, ctx context.Context) {
		begun := time.Now()
		var refs []engine.Ref[int]
		for _, d := range times {
			refs = append(refs, f.Submit(ctx, d))
		}
		_, err := engine.GetAll(ctx, refs)
		check(t, err)
		took = time.Since(begun)
	})
	return took, greedy(began, cfg.Nodes*int(cfg.Resources["cpu"]))
}

// When all agents stand still for a second, they go on afterwards: they do not give each other what they have.
func TestPauseIsNoStorm(t *testing.T) {
	const nodes, tasks = 4, 4000
	messages := map[bool]uint64{}
	for _, pause := range []bool{false, true} {
		var once sync.Once
		registry := engine.NewRegistry()
		gate := make(chan struct{}, 1)
		paused := make(chan struct{})
		f := engine.NewFunc("f", func(_ context.Context, n int) (int, error) {
			if n == tasks/2 && pause {
				once.Do(func() { close(paused); passes(time.Second); close(gate) })
			}
			passes(2 * time.Millisecond)
			select {
			case <-paused:
				<-gate
			default:
			}
			return 0, nil
		}, engine.In(registry))
		enginetest.Run(t, enginetest.Config{Nodes: nodes, Registry: registry}, func(t *testing.T, ctx context.Context) {
			gate, paused = make(chan struct{}), make(chan struct{}) // of the bubble
			var refs []engine.Ref[int]
			for n := range tasks {
				refs = append(refs, f.Submit(ctx, n))
			}
			_, err := engine.GetAll(ctx, refs)
			check(t, err)
			messages[pause] = enginetest.Published(ctx, t)
		})
	}
	t.Log("messages without and with the pause:", messages[false], messages[true])
	if messages[true] > messages[false]*5/4 {
		t.Errorf("%d messages without a pause, and %d with one", messages[false], messages[true])
	}
}
