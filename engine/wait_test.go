package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// gate returns a function whose task with input n ends when the test calls open(n).
func gate(t *testing.T, in engine.Option) (f *engine.Func[int, int], open func(n int)) {
	t.Helper()
	gates := make([]chan struct{}, 100)
	for i := range gates {
		gates[i] = make(chan struct{})
	}
	f = engine.NewFunc("gate", func(ctx context.Context, n int) (int, error) {
		select {
		case <-gates[n]:
			return n, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}, engine.Retries(0), engine.CPUs(0.25), in)
	return f, func(n int) { close(gates[n]) }
}

func TestWaitReturnsWhatIsReady(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	refs := []engine.Ref[int]{f.Submit(ctx, 0), f.Submit(ctx, 1), f.Submit(ctx, 2), engine.Put(ctx, 3)}
	ready, pending, err := engine.Wait(ctx, refs, 1)
	if err != nil || !slices.Equal(ready, refs[3:]) || !slices.Equal(pending, refs[:3]) {
		t.Errorf("one of four: got %d ready, %d pending, error %v; want the last one ready", len(ready), len(pending), err)
	}
	open(1)
	ready, pending, err = engine.Wait(ctx, refs, 2)
	if err != nil || !slices.Equal(ready, []engine.Ref[int]{refs[1], refs[3]}) || len(pending) != 2 {
		t.Errorf("two of four: got %d ready, %d pending, error %v; want the second and the last one ready", len(ready), len(pending), err)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	ready, pending, err = engine.Wait(short, refs, 4)
	if !errors.Is(err, context.Canceled) || len(ready) != 2 || len(pending) != 2 {
		t.Errorf("with an ended context: got %d ready, %d pending, error %v; want 2, 2, %v", len(ready), len(pending), err, context.Canceled)
	}
	if ready, pending, err = engine.Wait(ctx, refs, 0); len(ready) != 2 || len(pending) != 2 || err != nil {
		t.Errorf("none of four: got %d ready, %d pending, error %v; want 2, 2, none", len(ready), len(pending), err)
	}
	open(0)
	open(2)
	if ready, pending, err = engine.Wait(ctx, refs, 99); len(ready) != 4 || pending != nil || err != nil {
		t.Errorf("99 of four: got %d ready, %d pending, error %v; want 4, 0, none", len(ready), len(pending), err)
	}
}

func TestCompletedYieldsInOrderOfCompletion(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	refs := []engine.Ref[int]{f.Submit(ctx, 0), f.Submit(ctx, 1), f.Submit(ctx, 2)}
	next := []int{2, 0, 1}
	open(next[0])
	var order []int
	for r, err := range engine.Completed(ctx, append(refs, refs[2])) {
		if err != nil {
			t.Fatal(err)
		}
		v, err := r.Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if order = append(order, v); len(order) >= 2 && len(order) < 4 { // the first two are the same Ref
			open(next[len(order)-1])
		}
	}
	if !slices.Equal(order, []int{2, 2, 0, 1}) {
		t.Errorf("got order %v, want [2 2 0 1]", order)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range engine.Completed(short, []engine.Ref[int]{f.Submit(ctx, 3)}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: got error %v, want %v", err, context.Canceled)
		}
	}
	open(3)
}

func TestGetAllNamesTheFirstFailureByIndex(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	odd := engine.NewFunc("odd", func(_ context.Context, n int) (int, error) {
		if n%2 == 0 {
			return 0, errors.New("even")
		}
		return n, nil
	}, engine.Retries(0), in)
	refs := []engine.Ref[int]{odd.Submit(ctx, 1), odd.Submit(ctx, 2), odd.Submit(ctx, 3), odd.Submit(ctx, 4)}
	_, err := engine.GetAll(ctx, refs)
	if got := failure(t, err).Task.Number; got != 2 {
		t.Errorf("got the failure of task %d, want that of task 2: %v", got, err)
	}
	contains(t, err.Error(), "ref 1 of 4", "even")
	if all, err := engine.GetAll(ctx, []engine.Ref[int]{refs[2], refs[0]}); !slices.Equal(all, []int{3, 1}) || err != nil {
		t.Errorf("got %v, error %v; want [3 1]", all, err)
	}
}

func TestGetEndsWithItsContextAndTheTaskContinues(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	ref := f.Submit(ctx, 0)
	short, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := ref.Get(short); !errors.Is(err, context.Canceled) {
		t.Errorf("get with an ended context: got error %v, want %v", err, context.Canceled)
	}
	if _, err := f.Submit(short, 0).Get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("submit with an ended context: got error %v, want %v", err, context.Canceled)
	}
	open(0)
	<-ref.Done(ctx)
	if v, err := ref.Get(ctx); v != 0 || err != nil {
		t.Errorf("got %d, error %v; want 0", v, err)
	}
}

func TestGetAfterReleaseIsAnError(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	before, after := f.Submit(ctx, 0), f.Submit(ctx, 1)
	before.Release()
	open(0)
	open(1)
	<-before.Done(ctx)
	<-after.Done(ctx)
	after.Release()
	for _, r := range []engine.Ref[int]{before, after} {
		if _, err := r.Get(ctx); !errors.Is(err, engine.ErrReleased) {
			t.Errorf("got error %v, want %v", err, engine.ErrReleased)
		}
	}
	engine.Ref[int]{}.Release()
}

// Get returns a failure also after Release, and both may be called concurrently.
func TestReleaseOfAFailure(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("fails", func(context.Context, int) (int, error) { return 0, errors.New("no") }, engine.Retries(0), in)
	ref := f.Submit(ctx, 1)
	released := make(chan struct{})
	<-ref.Done(ctx)
	go func() { ref.Release(); close(released) }()
	for range 2 {
		if _, err := ref.Get(ctx); failure(t, err).Message != "no" {
			t.Errorf("got error %v, want the failure with message no", err)
		}
		<-released
	}
}

func TestSubmitWaitsWhilePendingTasksAreAtTheBound(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	first, second := f.Submit(ctx, 0, engine.Pending(2)), f.Submit(ctx, 1, engine.Pending(2))
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := &watchedContext{Context: short, waiting: make(chan struct{})}
	submitted := make(chan engine.Ref[int])
	go func() { submitted <- f.Submit(watched, 2, engine.Pending(2)) }()
	<-watched.waiting
	cancel()
	if _, err := (<-submitted).Get(ctx); !errors.Is(err, engine.ErrPendingFull) || !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v and %v", err, engine.ErrPendingFull, context.Canceled)
	}
	go func() { submitted <- f.Submit(ctx, 2, engine.Pending(2)) }()
	open(0)
	third := <-submitted
	beyond := f.Submit(ctx, 3, engine.Pending(-1))
	open(1)
	open(2)
	open(3)
	if _, err := engine.GetAll(ctx, []engine.Ref[int]{first, second, third, beyond}); err != nil {
		t.Errorf("get all: %v", err)
	}
}

// watchedContext closes the channel waiting when somebody waits for its end.
type watchedContext struct {
	context.Context //nolint:containedctx // it implements context.Context
	once            sync.Once
	waiting         chan struct{}
}

func (c *watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waiting) })
	return c.Context.Done()
}

// A loop that waits for one of very many refs again and again returns each of them once, and ends with the session.
func TestWaitForOneOfMany(t *testing.T) {
	const tasks = 3000 // more than from where on Wait looks at all of them
	ctx := open(t, tidemill.Config{})
	refs := make([]engine.Ref[int], tasks)
	for i := range refs {
		refs[i] = noop.Submit(ctx, i)
	}
	for left, seen := tasks, 0; left > 0; {
		ready, pending, err := engine.Wait(ctx, refs, 1)
		if err != nil || len(ready) == 0 || len(ready)+len(pending) != left {
			t.Fatalf("Wait with %d refs left: got %d ready, %d pending, %v, want at least one ready, %d in all, nil", left, len(ready), len(pending), err, left)
		}
		refs, left, seen = pending, len(pending), seen+len(ready)
		if left == 0 && seen != tasks {
			t.Errorf("refs that were ready: got %d, want %d", seen, tasks)
		}
	}
	refs = make([]engine.Ref[int], tasks)
	for i := range refs {
		refs[i] = noop.Submit(ctx, i, engine.Delay(time.Hour))
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if ready, pending, err := engine.Wait(short, refs, 1); !errors.Is(err, context.DeadlineExceeded) || len(ready) != 0 || len(pending) != tasks {
		t.Errorf("Wait whose context ends: got %d ready, %d pending, %v, want 0, %d, %v", len(ready), len(pending), err, tasks, context.DeadlineExceeded)
	}
}
