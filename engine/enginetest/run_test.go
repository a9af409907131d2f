package enginetest_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
)

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

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
