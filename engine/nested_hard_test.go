package engine_test

import (
	"context"
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

type link struct {
	N    int
	Next engine.Ref[link]
}

// Results may have Refs to results with Refs, and so on, up to a limit. A task beyond the limit fails, and no other does.
func TestDepthOfRefsInResultsIsLimited(t *testing.T) {
	in, ctx := own(t, oneCPU)
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
			t.Errorf("depth %d: got error %v, want a result: %t", depth, err, fits)
		} else if err != nil {
			contains(t, err.Error(), "too large", "32 deep")
		}
		if _, err := other.Get(ctx); err != nil {
			t.Errorf("another task beside depth %d: %v", depth, err)
		}
	}
}

// A nested task starts while its parent runs, if there are enough free CPUs.
func TestNestedTaskStartsOnFreeCPUs(t *testing.T) {
	in, ctx := own(t, oneCPU)
	began := make(chan struct{}, 1)
	child := engine.NewFunc("child", func(_ context.Context, n int) (int, error) { began <- struct{}{}; return n, nil }, in, engine.CPUs(0.5))
	parent := engine.NewFunc("parent", func(ctx context.Context, _ int) (int, error) {
		r := child.Submit(ctx, 1)
		<-began // the parent does not give up its CPU here
		return r.Get(ctx)
	}, in, engine.CPUs(0.5))
	if _, err := parent.Submit(ctx, 1).Get(ctx); err != nil {
		t.Errorf("the parent: %v", err)
	}
}

// Submit inside a task does not wait at the bound on pending tasks: the pending tasks may be its own ancestors, so it could
// wait forever.
func TestNestedSubmitDoesNotWaitAtItsBound(t *testing.T) {
	in, ctx := own(t, oneCPU)
	var down *engine.Func[int, int]
	down = engine.NewFunc("down", func(ctx context.Context, n int) (int, error) {
		if n == 0 {
			return 0, nil
		}
		return down.Submit(ctx, n-1, engine.CPUs(0.5+float64(n%2)/2)).Get(ctx) // alternately of two scheduling classes
	}, in, engine.Pending(4))
	if _, err := down.Submit(ctx, 8).Get(ctx); err != nil {
		t.Errorf("a chain of 8 with Pending(4): %v", err)
	}
}

// A nested task may require a resource that its parent occupies, if the parent ends without waiting for it.
func TestResourcesOfAParentThatHasEnded(t *testing.T) {
	in, ctx := own(t, tidemill.Config{Resources: map[string]float64{"cpu": 1, "gpu": 1}})
	child := noopIn(in)
	type res struct{ R engine.Ref[int] }
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (res, error) {
		return res{child.Submit(ctx, n, engine.Resource("gpu", 1))}, nil
	}, in, engine.Resource("gpu", 1), engine.Retries(0))
	r, err := parent.Submit(ctx, 5).Get(ctx)
	if err != nil {
		t.Fatalf("the parent: %v", err)
	}
	if n, err := r.R.Get(ctx); n != 5 || err != nil {
		t.Errorf("the nested task: got %d, error %v; want 5", n, err)
	}
}

// A nested task that requires a resource which a waiting ancestor occupies could never run: it is refused.
func TestResourcesOfAWaitingGrandparent(t *testing.T) {
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
		t.Fatal("a task that requires the gpu of its waiting grandparent: got no error")
	}
	contains(t, err.Error(), "hold gpu=1", "could never run")
}

// If a function returns while another of its goroutines runs a nested task in Get, the task ends when the nested task has,
// so that no other task gets the same CPU meanwhile.
func TestFunctionReturnsWhileItsGoroutineRunsANestedTask(t *testing.T) {
	in, ctx := own(t, oneCPU)
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
			t.Errorf("the parent: %v", err)
		}
	}
}
