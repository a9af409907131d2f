package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
	"github.com/tidemill/tidemill/engine/task"
)

// pass waits until the time has passed or ctx has ended, and returns why it ended.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sleeper is a cluster of one slot with a function that takes as long as it is told.
type sleeper struct {
	nap   *engine.Func[time.Duration, time.Duration]
	begun atomic.Int64
	mu    sync.Mutex
	order []time.Duration // guarded by mu; inputs, as they began
	ends  []error         // guarded by mu; why contexts ended
}

func runSleeper(t *testing.T, test func(t *testing.T, ctx context.Context, s *sleeper)) {
	t.Helper()
	registry := engine.NewRegistry()
	s := &sleeper{}
	s.nap = engine.NewFunc("nap", func(ctx context.Context, d time.Duration) (time.Duration, error) {
		s.begun.Add(1)
		s.mu.Lock()
		s.order = append(s.order, d)
		s.mu.Unlock()
		if err := pass(ctx, d); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ends = append(s.ends, err)
			return 0, err
		}
		return d, nil
	}, engine.In(registry), engine.Retries(1))
	enginetest.Run(t, enginetest.Config{Registry: registry, Resources: map[string]float64{"cpu": 1}}, func(t *testing.T, ctx context.Context) {
		test(t, ctx, s)
		if err := enginetest.Settle(ctx); err != nil {
			t.Error(err)
		}
	})
}

// What is cancelled before it runs never does; what runs has its context cancelled, with the reason; what
// has ended stays as it is.
func TestCancel(t *testing.T) {
	runSleeper(t, func(t *testing.T, ctx context.Context, s *sleeper) {
		first, running := s.nap.Submit(ctx, time.Second), s.nap.Submit(ctx, time.Hour)
		waiting := s.nap.Submit(ctx, time.Hour)
		if _, err := first.Get(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, ref := range []engine.Ref[time.Duration]{waiting, running, running} {
			if err := ref.Cancel(ctx); err != nil {
				t.Error(err)
			}
			if _, err := ref.Get(ctx); !errors.Is(err, engine.ErrCancelled) {
				t.Errorf("the outcome is %v", err)
			}
		}
		if err := first.Cancel(ctx); err != nil {
			t.Error(err)
		}
		if d, err := first.Get(ctx); d != time.Second || err != nil {
			t.Errorf("a result became %v, %v", d, err)
		}
		if _, err := s.nap.Submit(ctx, time.Minute).Get(ctx); err != nil { // the slot is free
			t.Error(err)
		}
		if s.begun.Load() != 3 || len(s.ends) != 1 || !errors.Is(s.ends[0], engine.ErrCancelled) {
			t.Errorf("%d began, contexts ended with %v", s.begun.Load(), s.ends)
		}
	})
}

// A timeout ends an attempt, and costs one of the retries.
func TestTimeout(t *testing.T) {
	runSleeper(t, func(t *testing.T, ctx context.Context, s *sleeper) {
		begun := time.Now()
		_, err := s.nap.Submit(ctx, time.Hour, engine.Timeout(time.Minute)).Get(ctx)
		var failure *task.Failure
		if !errors.Is(err, engine.ErrTimeout) || !errors.As(err, &failure) || failure.Attempt != 2 {
			t.Errorf("%+v", err)
		}
		if took := time.Since(begun); took < 2*time.Minute || took > 3*time.Minute || s.begun.Load() != 2 {
			t.Errorf("%d attempts took %s", s.begun.Load(), took)
		}
		if _, err := s.nap.Submit(ctx, 59*time.Second, engine.Timeout(time.Minute)).Get(ctx); err != nil {
			t.Error(err)
		}
	})
}

// A deadline ends a task wherever it is: while it runs, while it waits, while it is kept back.
func TestDeadline(t *testing.T) {
	runSleeper(t, func(t *testing.T, ctx context.Context, s *sleeper) {
		begun := time.Now()
		within := engine.Deadline(time.Minute)
		refs := []engine.Ref[time.Duration]{
			s.nap.Submit(ctx, time.Hour, within), s.nap.Submit(ctx, time.Hour, within),
			s.nap.Submit(ctx, time.Second, within, engine.Delay(2*time.Minute)),
		}
		for i, ref := range refs {
			if _, err := ref.Get(ctx); !errors.Is(err, engine.ErrTimeout) {
				t.Errorf("task %d: %v", i, err)
			}
		}
		if took := time.Since(begun); took < time.Minute || took > 61*time.Second {
			t.Errorf("it took %s", took)
		}
		if err := pass(ctx, 3*time.Minute); err != nil || s.begun.Load() != 1 {
			t.Errorf("%d began, %v", s.begun.Load(), err)
		}
	})
}

func TestDelay(t *testing.T) {
	runSleeper(t, func(t *testing.T, ctx context.Context, s *sleeper) {
		begun := time.Now()
		later := s.nap.Submit(ctx, 2*time.Second, engine.Delay(time.Hour))
		if _, err := s.nap.Submit(ctx, time.Second).Get(ctx); err != nil || time.Since(begun) > time.Minute {
			t.Errorf("who has no delay took %s, %v", time.Since(begun), err)
		}
		if _, err := later.Get(ctx); err != nil || time.Since(begun) < time.Hour {
			t.Errorf("it ended after %s, %v", time.Since(begun), err)
		}
	})
}

// Of tasks that wait, the higher ones go first, four times as many as of the next level; the lowest is
// never starved.
func TestPriority(t *testing.T) {
	runSleeper(t, func(t *testing.T, ctx context.Context, s *sleeper) {
		blocker := s.nap.Submit(ctx, time.Minute)
		const each = 300
		levels := []task.Level{engine.Low, engine.Normal, engine.High}
		var refs []engine.Ref[time.Duration]
		for n := range each * len(levels) {
			level := n % len(levels)
			refs = append(refs, s.nap.Submit(ctx, time.Duration(1+level)*time.Second, engine.Priority(levels[level])))
		}
		if _, err := engine.GetAll(ctx, append(refs, blocker)); err != nil {
			t.Fatal(err)
		}
		count := map[time.Duration]int{}
		for _, d := range s.order[1:211] { // 210 = (16+4+1)·10
			count[d]++
		}
		low, normal, high := count[1*time.Second], count[2*time.Second], count[3*time.Second]
		if high <= 2*normal || normal <= 2*low || low < 3 {
			t.Errorf("of the first 210 tasks %d are high, %d normal, %d low", high, normal, low)
		}
		if last := slices.Index(s.order[1:], time.Second); last > 100 {
			t.Errorf("the first low task is number %d", last)
		}
	})
}

// Code that ignores that its context has ended is given up after the grace. Its slot is lost until it
// returns, and what it returns then is nobody's.
func TestAbandoned(t *testing.T) {
	registry := engine.NewRegistry()
	var calls atomic.Int64
	returns := make(chan struct{})
	deaf := engine.NewFunc("deaf", func(context.Context, string) (string, error) {
		if calls.Add(1) == 1 {
			<-returns
		}
		return "done", nil
	}, engine.In(registry))
	synctest.Test(t, func(t *testing.T) {
		returns = make(chan struct{})
		ctx := enginetest.Start(t, enginetest.Config{Registry: registry, Resources: map[string]float64{"cpu": 1}})
		begun := time.Now()
		first, second := deaf.Submit(ctx, "1", engine.Timeout(time.Second)), deaf.Submit(ctx, "2")
		if v, err := deaf.Submit(ctx, "3", engine.Deadline(5*time.Second)).Get(ctx); !errors.Is(err, engine.ErrTimeout) {
			t.Errorf("there was a slot: %q, %v", v, err)
		}
		if err := pass(ctx, time.Minute); err != nil {
			t.Fatal(err)
		}
		close(returns)
		for _, ref := range []engine.Ref[string]{first, second} {
			if v, err := ref.Get(ctx); v != "done" || err != nil {
				t.Errorf("%q, %v", v, err)
			}
		}
		if took := time.Since(begun); took < time.Minute || calls.Load() != 3 {
			t.Errorf("%d calls took %s", calls.Load(), took)
		}
		if err := enginetest.Settle(ctx); err != nil {
			t.Error(err)
		}
	})
}

// What a Map has submitted is cancelled when its loop is left.
func TestABrokenMapCancels(t *testing.T) {
	runSleeper(t, func(t *testing.T, ctx context.Context, s *sleeper) {
		begun := time.Now()
		inputs := slices.Repeat([]time.Duration{time.Second}, 1000)
		for _, err := range engine.Map(ctx, s.nap, slices.Values(inputs)) {
			if err != nil {
				t.Error(err)
			}
			break
		}
		if err := pass(ctx, time.Hour); err != nil || s.begun.Load() > 100 {
			t.Errorf("%d began after the loop was left at once, %v", s.begun.Load(), err)
		}
		if took := time.Since(begun); took < time.Hour {
			t.Error(took)
		}
	})
}

// Options that make no sense are errors of the call that has them.
func TestLimitsAreChecked(t *testing.T) {
	runSleeper(t, func(t *testing.T, ctx context.Context, s *sleeper) {
		for _, opt := range []engine.Option{
			engine.Timeout(0), engine.Timeout(-1), engine.Deadline(0), engine.Delay(-time.Second), engine.Priority("highest"),
			engine.Version("2"),
		} {
			if _, err := s.nap.Submit(ctx, time.Second, opt).Get(ctx); err == nil {
				t.Error("no error")
			} else if testing.Verbose() {
				t.Log(fmt.Sprint(err))
			}
		}
		if s.begun.Load() != 0 {
			t.Error("one ran")
		}
	})
}
