package engine_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// gate is a function whose tasks end when the test lets them.
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
		t.Errorf("one of four: %d ready, %d pending, %v", len(ready), len(pending), err)
	}
	open(1)
	ready, pending, err = engine.Wait(ctx, refs, 2)
	if err != nil || !slices.Equal(ready, []engine.Ref[int]{refs[1], refs[3]}) || len(pending) != 2 {
		t.Errorf("two of four: %d ready, %d pending, %v", len(ready), len(pending), err)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	ready, pending, err = engine.Wait(short, refs, 4)
	if !errors.Is(err, context.Canceled) || len(ready) != 2 || len(pending) != 2 {
		t.Errorf("cancelled: %d ready, %d pending, %v", len(ready), len(pending), err)
	}
	if ready, pending, err = engine.Wait(ctx, refs, 0); len(ready) != 2 || len(pending) != 2 || err != nil {
		t.Errorf("none of four: %d ready, %d pending, %v", len(ready), len(pending), err)
	}
	open(0)
	open(2)
	if ready, pending, err = engine.Wait(ctx, refs, 99); len(ready) != 4 || pending != nil || err != nil {
		t.Errorf("all: %d ready, %d pending, %v", len(ready), len(pending), err)
	}
}

func TestCompletedYieldsEachAsItIsDone(t *testing.T) {
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
		if order = append(order, v); len(order) >= 2 && len(order) < 4 { // the second ref to 2 comes with the first
			open(next[len(order)-1])
		}
	}
	if !slices.Equal(order, []int{2, 2, 0, 1}) {
		t.Errorf("order %v", order)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range engine.Completed(short, []engine.Ref[int]{f.Submit(ctx, 3)}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
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
	if failure(t, err).Task.Number != 2 {
		t.Error(err)
	}
	contains(t, err.Error(), "ref 1 of 4", "even")
	if all, err := engine.GetAll(ctx, []engine.Ref[int]{refs[2], refs[0]}); !slices.Equal(all, []int{3, 1}) || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestGetEndsWithItsContextAndTheTaskGoesOn(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	ref := f.Submit(ctx, 0)
	short, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := ref.Get(short); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Submit(short, 0).Get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("submit under an ended context: %v", err)
	}
	open(0)
	<-ref.Done(ctx)
	if v, err := ref.Get(ctx); v != 0 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
}

func TestReleaseGivesTheValueUp(t *testing.T) {
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
			t.Errorf("got %v", err)
		}
	}
	engine.Ref[int]{}.Release()
}

// A failure stays, and releasing it beside a Get is no race.
func TestReleaseOfAFailure(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("fails", func(context.Context, int) (int, error) { return 0, errors.New("no") }, engine.Retries(0), in)
	ref := f.Submit(ctx, 1)
	released := make(chan struct{})
	<-ref.Done(ctx)
	go func() { ref.Release(); close(released) }()
	for range 2 {
		if _, err := ref.Get(ctx); failure(t, err).Message != "no" {
			t.Error(err)
		}
		<-released
	}
}

func TestSubmitWaitsAtItsBound(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	first, second := f.Submit(ctx, 0, engine.Pending(2)), f.Submit(ctx, 1, engine.Pending(2))
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := &askedContext{Context: short, asked: make(chan struct{})}
	submitted := make(chan engine.Ref[int])
	go func() { submitted <- f.Submit(asked, 2, engine.Pending(2)) }()
	<-asked.asked // it waits
	cancel()
	if _, err := (<-submitted).Get(ctx); !errors.Is(err, engine.ErrPendingFull) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	go func() { submitted <- f.Submit(ctx, 2, engine.Pending(2)) }()
	open(0)
	third := <-submitted
	beyond := f.Submit(ctx, 3, engine.Pending(-1))
	open(1)
	open(2)
	open(3)
	if _, err := engine.GetAll(ctx, []engine.Ref[int]{first, second, third, beyond}); err != nil {
		t.Error(err)
	}
}

// askedContext tells that somebody waits for its end.
type askedContext struct {
	context.Context //nolint:containedctx // it is one
	once            sync.Once
	asked           chan struct{}
}

func (c *askedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.asked) })
	return c.Context.Done()
}
