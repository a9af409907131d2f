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

// pass waits until d has passed, and returns nil. If ctx ends first, it returns the cause.
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

// harness has a function that takes as long as its input says, and counts its attempts.
type harness struct {
	nap   *engine.Func[time.Duration, time.Duration]
	begun atomic.Int64
	mu    sync.Mutex
	order []time.Duration // guarded by mu; the inputs, in the order in which attempts began
	ends  []error         // guarded by mu; causes of the contexts that ended before the function
}

// runHarness runs the test on a cluster with one CPU, in virtual time.
func runHarness(t *testing.T, test func(t *testing.T, ctx context.Context, s *harness)) {
	t.Helper()
	registry := engine.NewRegistry()
	s := &harness{}
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
			t.Errorf("at the end of the test: %v", err)
		}
	})
}

// A task that is cancelled before it runs never runs; the context of a running one is cancelled, with the cause; a task that
// has ended keeps its outcome.
func TestCancel(t *testing.T) {
	runHarness(t, func(t *testing.T, ctx context.Context, s *harness) {
		first, running := s.nap.Submit(ctx, time.Second), s.nap.Submit(ctx, time.Hour)
		waiting := s.nap.Submit(ctx, time.Hour)
		if _, err := first.Get(ctx); err != nil {
			t.Fatalf("the first task: %v", err)
		}
		synctest.Wait()
		for _, ref := range []engine.Ref[time.Duration]{waiting, running, running} {
			if err := ref.Cancel(ctx); err != nil {
				t.Errorf("cancel: %v", err)
			}
			if _, err := ref.Get(ctx); !errors.Is(err, engine.ErrCancelled) {
				t.Errorf("after Cancel: got error %v, want %v", err, engine.ErrCancelled)
			}
		}
		if err := first.Cancel(ctx); err != nil {
			t.Errorf("cancel a task that has ended: %v", err)
		}
		if d, err := first.Get(ctx); d != time.Second || err != nil {
			t.Errorf("after Cancel of a task that had ended: got %v, error %v; want its result, 1s", d, err)
		}
		if _, err := s.nap.Submit(ctx, time.Minute).Get(ctx); err != nil { // the CPU is free again
			t.Errorf("a task after the cancelled ones: %v", err)
		}
		if s.begun.Load() != 3 || len(s.ends) != 1 || !errors.Is(s.ends[0], engine.ErrCancelled) {
			t.Errorf("got %d attempts, contexts that ended with %v; want 3, and one with %v", s.begun.Load(), s.ends, engine.ErrCancelled)
		}
	})
}

// A timeout ends an attempt, which counts against Retries.
func TestTimeout(t *testing.T) {
	runHarness(t, func(t *testing.T, ctx context.Context, s *harness) {
		begun := time.Now()
		_, err := s.nap.Submit(ctx, time.Hour, engine.Timeout(time.Minute)).Get(ctx)
		var failure *task.Failure
		if !errors.Is(err, engine.ErrTimeout) || !errors.As(err, &failure) || failure.Attempt != 2 {
			t.Errorf("got error %+v, want %v in attempt 2", err, engine.ErrTimeout)
		}
		if took := time.Since(begun); took < 2*time.Minute || took > 3*time.Minute || s.begun.Load() != 2 {
			t.Errorf("got %d attempts in %s, want 2 in 2m to 3m", s.begun.Load(), took)
		}
		if _, err := s.nap.Submit(ctx, 59*time.Second, engine.Timeout(time.Minute)).Get(ctx); err != nil {
			t.Errorf("a task that takes less than its timeout: %v", err)
		}
	})
}

// A deadline ends a task while it runs, while it waits for a CPU, and while it is delayed.
func TestDeadline(t *testing.T) {
	runHarness(t, func(t *testing.T, ctx context.Context, s *harness) {
		begun := time.Now()
		within := engine.Deadline(time.Minute)
		refs := []engine.Ref[time.Duration]{
			s.nap.Submit(ctx, time.Hour, within), s.nap.Submit(ctx, time.Hour, within),
			s.nap.Submit(ctx, time.Second, within, engine.Delay(2*time.Minute)),
		}
		for i, ref := range refs {
			if _, err := ref.Get(ctx); !errors.Is(err, engine.ErrTimeout) {
				t.Errorf("task %d: got error %v, want %v", i, err, engine.ErrTimeout)
			}
		}
		if took := time.Since(begun); took < time.Minute || took > 61*time.Second {
			t.Errorf("the tasks took %s, want 60s to 61s", took)
		}
		if err := pass(ctx, 3*time.Minute); err != nil || s.begun.Load() != 1 {
			t.Errorf("three minutes later: got %d attempts, error %v; want 1", s.begun.Load(), err)
		}
	})
}

func TestDelay(t *testing.T) {
	runHarness(t, func(t *testing.T, ctx context.Context, s *harness) {
		begun := time.Now()
		later := s.nap.Submit(ctx, 2*time.Second, engine.Delay(time.Hour))
		if _, err := s.nap.Submit(ctx, time.Second).Get(ctx); err != nil || time.Since(begun) > time.Minute {
			t.Errorf("a task without delay took %s, error %v; want at most 1m", time.Since(begun), err)
		}
		if _, err := later.Get(ctx); err != nil || time.Since(begun) < time.Hour {
			t.Errorf("a task with a delay of 1h ended after %s, error %v", time.Since(begun), err)
		}
	})
}

// While tasks of several priorities wait, four times as many of one priority run as of the next lower one, and the lowest
// is not starved.
func TestPriority(t *testing.T) {
	runHarness(t, func(t *testing.T, ctx context.Context, s *harness) {
		blocker := s.nap.Submit(ctx, time.Minute)
		const each = 300
		levels := []task.Level{engine.Low, engine.Normal, engine.High}
		var refs []engine.Ref[time.Duration]
		for n := range each * len(levels) {
			level := n % len(levels)
			refs = append(refs, s.nap.Submit(ctx, time.Duration(1+level)*time.Second, engine.Priority(levels[level])))
		}
		if _, err := engine.GetAll(ctx, append(refs, blocker)); err != nil {
			t.Fatalf("get all: %v", err)
		}
		count := map[time.Duration]int{}
		for _, d := range s.order[1:211] { // 210 = (16+4+1)·10
			count[d]++
		}
		low, normal, high := count[1*time.Second], count[2*time.Second], count[3*time.Second]
		if high <= 2*normal || normal <= 2*low || low < 3 {
			t.Errorf("of the first 210 tasks, got %d high, %d normal, %d low; want about 160, 40, 10", high, normal, low)
		}
		if first := slices.Index(s.order[1:], time.Second); first > 100 {
			t.Errorf("the first task with low priority was number %d, want at most 100", first)
		}
	})
}

// A function that ignores the end of its context is abandoned after a grace period. Its CPU stays occupied until it
// returns, and its result is ignored.
func TestAbandonedFunction(t *testing.T) {
	registry := engine.NewRegistry()
	var calls atomic.Int64
	returns := make(chan struct{})
	stubborn := engine.NewFunc("stubborn", func(context.Context, string) (string, error) {
		if calls.Add(1) == 1 {
			<-returns
		}
		return "done", nil
	}, engine.In(registry))
	synctest.Test(t, func(t *testing.T) {
		returns = make(chan struct{})
		ctx := enginetest.Start(t, enginetest.Config{Registry: registry, Resources: map[string]float64{"cpu": 1}})
		begun := time.Now()
		first, second := stubborn.Submit(ctx, "1", engine.Timeout(time.Second)), stubborn.Submit(ctx, "2")
		if v, err := stubborn.Submit(ctx, "3", engine.Deadline(5*time.Second)).Get(ctx); !errors.Is(err, engine.ErrTimeout) {
			t.Errorf("while the abandoned function has the only CPU: got %q, error %v; want %v", v, err, engine.ErrTimeout)
		}
		if err := pass(ctx, time.Minute); err != nil {
			t.Fatalf("wait: %v", err)
		}
		close(returns)
		for _, ref := range []engine.Ref[string]{first, second} {
			if v, err := ref.Get(ctx); v != "done" || err != nil {
				t.Errorf("after the function has returned: got %q, error %v; want done", v, err)
			}
		}
		if took := time.Since(begun); took < time.Minute || calls.Load() != 3 {
			t.Errorf("got %d calls in %s, want 3 in at least 1m", calls.Load(), took)
		}
		if err := enginetest.Settle(ctx); err != nil {
			t.Errorf("at the end of the test: %v", err)
		}
	})
}

// When the loop over a Map breaks, the tasks in flight are cancelled.
func TestMapCancelsAfterABreak(t *testing.T) {
	runHarness(t, func(t *testing.T, ctx context.Context, s *harness) {
		inputs := slices.Repeat([]time.Duration{time.Second}, 1000)
		for _, err := range engine.Map(ctx, s.nap, slices.Values(inputs)) {
			if err != nil {
				t.Errorf("the first result: %v", err)
			}
			break
		}
		if err := pass(ctx, time.Hour); err != nil || s.begun.Load() > 100 {
			t.Errorf("an hour after the break: got %d attempts, error %v; want at most 100", s.begun.Load(), err)
		}
	})
}

// An invalid option is an error of the call that has it, and nothing is submitted.
func TestInvalidOptionsAreErrors(t *testing.T) {
	runHarness(t, func(t *testing.T, ctx context.Context, s *harness) {
		for want, opt := range map[string]engine.Option{
			"Timeout: 0s": engine.Timeout(0), "Timeout: -1ns": engine.Timeout(-1), "Deadline: 0s": engine.Deadline(0),
			"Delay: -1s": engine.Delay(-time.Second), `Priority: "highest"`: engine.Priority("highest"),
			"Version is not an option of Submit": engine.Version("2"),
		} {
			_, err := s.nap.Submit(ctx, time.Second, opt).Get(ctx)
			contains(t, fmt.Sprint(err), want)
		}
		if n := s.begun.Load(); n != 0 {
			t.Errorf("got %d attempts, want 0", n)
		}
	})
}
