package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// gauge counts tasks under way, and remembers the most there were.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) enter() {
	n := g.now.Add(1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

// A tree is walked in its depth, however its tasks wait: of a wide one, few tasks are under way at a time.
func TestWideOnOneSlot(t *testing.T) {
	const depth, mostBlocked = 14, 64
	type sum = engine.Func[int, int]
	ways := map[string]func(ctx context.Context, left, right engine.Ref[int]) (int, error){
		"get": func(ctx context.Context, left, right engine.Ref[int]) (int, error) {
			l, errL := left.Get(ctx)
			r, errR := right.Get(ctx)
			return l + r, errors.Join(errL, errR)
		},
		"get with a context of its own": func(ctx context.Context, left, right engine.Ref[int]) (int, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			l, errL := left.Get(ctx)
			r, errR := right.Get(ctx)
			return l + r, errors.Join(errL, errR)
		},
		"get all": func(ctx context.Context, left, right engine.Ref[int]) (int, error) {
			both, err := engine.GetAll(ctx, []engine.Ref[int]{left, right})
			if err != nil {
				return 0, err
			}
			return both[0] + both[1], nil
		},
		"done": func(ctx context.Context, left, right engine.Ref[int]) (int, error) {
			<-left.Done(ctx)
			l, errL := left.Get(ctx)
			<-right.Done(ctx)
			r, errR := right.Get(ctx)
			return l + r, errors.Join(errL, errR)
		},
	}
	for name, wait := range ways {
		t.Run(name, func(t *testing.T) {
			in, ctx := own(t, oneSlot)
			var blocked gauge
			var tree *sum
			tree = engine.NewFunc("tree", func(ctx context.Context, depth int) (int, error) {
				if depth == 0 {
					return 1, nil
				}
				blocked.enter()
				defer blocked.leave()
				return wait(ctx, tree.Submit(ctx, depth-1), tree.Submit(ctx, depth-1))
			}, in)
			if n, err := tree.Submit(ctx, depth).Get(ctx); n != 1<<depth || err != nil {
				t.Errorf("%d leaves, %v", n, err)
			}
			t.Log(blocked.most.Load(), "blocked at a time at most")
			if most := blocked.most.Load(); most > mostBlocked {
				t.Errorf("%d parents were blocked at a time, want %d at most", most, mostBlocked)
			}
		})
	}
}

// What is no CPU stays with a task that waits. A child that needs it, too, could never run: it is refused, in words
// that say so. One that finds what it needs beside it runs.
func TestWhatIsNotLent(t *testing.T) {
	in, ctx := own(t, tidemill.Config{Resources: map[string]float64{"cpu": 1, "gpu": 2}})
	child := noopIn(in)
	parent := engine.NewFunc("parent", func(ctx context.Context, gpus int) (int, error) {
		return child.Submit(ctx, gpus, engine.Resource("gpu", float64(gpus))).Get(ctx)
	}, in, engine.Resource("gpu", 1), engine.Retries(0))
	if v, err := parent.Submit(ctx, 1).Get(ctx); v != 1 || err != nil {
		t.Errorf("%d, %v", v, err)
	}
	_, err := parent.Submit(ctx, 2).Get(ctx)
	if err == nil {
		t.Fatal("a child ran with what its parent holds")
	}
	contains(t, err.Error(), "noop", "infeasible", "needs cpu=1 gpu=2", "hold gpu=1", "could never run")
}

// A task that submits under the context of another one that has ended is told so.
func TestATaskThatIsOver(t *testing.T) {
	in, ctx := own(t, oneSlot)
	f := noopIn(in)
	left := make(chan context.Context, 1)
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (int, error) { left <- ctx; return n, nil }, in)
	if _, err := parent.Submit(ctx, 1).Get(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Submit(context.WithoutCancel(<-left), 1).Get(ctx); err == nil {
		t.Error("it was submitted")
	} else {
		contains(t, err.Error(), "the task has ended")
	}
}
