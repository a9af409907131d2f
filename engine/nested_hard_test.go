package engine_test

import (
	"context"
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// What a review by somebody else found.

type link struct {
	N    int
	Next engine.Ref[link]
}

// Results may refer to results that refer to others, so deep as a reader takes them. What is deeper fails, and nothing
// beside it does.
func TestChainsOfResults(t *testing.T) {
	in, ctx := own(t, oneSlot)
	var f *engine.Func[int, link]
	f = engine.NewFunc("chain", func(ctx context.Context, n int) (link, error) {
		if n == 0 {
			return link{}, nil
		}
		return link{N: n, Next: f.Submit(ctx, n-1)}, nil
	}, in)
	noop := noopIn(in)
	for depth, fits := range map[int]bool{20: true, 31: true, 32: false} {
		ref, other := f.Submit(ctx, depth), noop.Submit(ctx, 1)
		if _, err := ref.Get(ctx); fits != (err == nil) {
			t.Errorf("depth %d: %v", depth, err)
		} else if err != nil {
			contains(t, err.Error(), "too large", "32 deep")
		}
		if _, err := other.Get(ctx); err != nil {
			t.Errorf("beside depth %d: %v", depth, err)
		}
	}
}

// A child that fits into what is free of the CPUs is begun.
func TestAChildOfHalfACPU(t *testing.T) {
	in, ctx := own(t, oneSlot)
	began := make(chan struct{}, 1)
	child := engine.NewFunc("child", func(_ context.Context, n int) (int, error) { began <- struct{}{}; return n, nil }, in, engine.CPUs(0.5))
	parent := engine.NewFunc("parent", func(ctx context.Context, _ int) (int, error) {
		r := child.Submit(ctx, 1)
		<-began // the slot is not lent
		return r.Get(ctx)
	}, in, engine.CPUs(0.5))
	if _, err := parent.Submit(ctx, 1).Get(ctx); err != nil {
		t.Error(err)
	}
}

// Who submits does not wait for room that those make who wait for it.
func TestPendingOfNestedTasks(t *testing.T) {
	in, ctx := own(t, oneSlot)
	var down *engine.Func[int, int]
	down = engine.NewFunc("down", func(ctx context.Context, n int) (int, error) {
		if n == 0 {
			return 0, nil
		}
		return down.Submit(ctx, n-1, engine.CPUs(0.5+float64(n%2)/2)).Get(ctx) // of two classes, in turns
	}, in, engine.Pending(4))
	if _, err := down.Submit(ctx, 8).Get(ctx); err != nil {
		t.Error(err)
	}
}

// A child may need what its parent holds if that does not wait for it.
func TestWhatIsHeldNoLonger(t *testing.T) {
	in, ctx := own(t, tidemill.Config{Resources: map[string]float64{"cpu": 1, "gpu": 1}})
	child := noopIn(in)
	type res struct{ R engine.Ref[int] }
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (res, error) {
		return res{child.Submit(ctx, n, engine.Resource("gpu", 1))}, nil
	}, in, engine.Resource("gpu", 1), engine.Retries(0))
	r, err := parent.Submit(ctx, 5).Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.R.Get(ctx); n != 5 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// What is held is held by all that wait, however they wait, and wherever above they are.
func TestWhatAGrandparentHolds(t *testing.T) {
	in, ctx := own(t, tidemill.Config{Resources: map[string]float64{"cpu": 1, "gpu": 1}})
	leaf := noopIn(in)
	mid := engine.NewFunc("mid", func(ctx context.Context, n int) (int, error) {
		all, err := engine.GetAll(ctx, []engine.Ref[int]{leaf.Submit(ctx, n, engine.Resource("gpu", 1))})
		return len(all), err
	}, in, engine.Retries(0))
	top := engine.NewFunc("top", func(ctx context.Context, n int) (int, error) {
		r := mid.Submit(ctx, n)
		<-r.Done(ctx)
		return r.Get(ctx)
	}, in, engine.Resource("gpu", 1), engine.Retries(0))
	_, err := top.Submit(ctx, 1).Get(ctx)
	if err == nil {
		t.Fatal("it ran")
	}
	contains(t, err.Error(), "hold gpu=1", "could never run")
}

// A task that returns while another goroutine of it runs a child in its slot ends when that child has: nothing else is in
// the slot meanwhile.
func TestAGoroutineLeftBehind(t *testing.T) {
	in, ctx := own(t, oneSlot)
	waits := make(chan struct{}, 1)
	slow := engine.NewFunc("slow", func(ctx context.Context, n int) (int, error) { <-ctx.Done(); return n, ctx.Err() }, in, engine.CPUs(0.5))
	child := engine.NewFunc("child", func(ctx context.Context, _ int) (int, error) {
		r := slow.Submit(ctx, 1)
		waits <- struct{}{}
		return r.Get(ctx)
	}, in)
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (int, error) {
		r := child.Submit(ctx, 1)
		go func() { _, _ = r.Get(ctx) }()
		<-waits
		return n, nil
	}, in, engine.Retries(0))
	for range 20 {
		if _, err := parent.Submit(ctx, 1).Get(ctx); err != nil {
			t.Error(err)
		}
	}
}
