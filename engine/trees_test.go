package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// gauge counts tasks, and keeps the largest count.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) enter() {
	n := g.now.Add(1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
}

func (g *gauge) leave() { g.now.Add(-1) }

// One CPU runs a tree of nested tasks depth first, whichever function they wait in: few of a wide tree's tasks are blocked
// at the same time.
func TestTreesRunDepthFirstOnOneCPU(t *testing.T) {
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
			in, ctx := own(t, oneCPU)
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
				t.Errorf("got %d leaves, error %v; want %d", n, err, 1<<depth)
			}
			if most := blocked.most.Load(); most > mostBlocked {
				t.Errorf("got %d parents blocked at the same time, want at most %d", most, mostBlocked)
			}
		})
	}
}

// A task that waits gives up only its CPUs. A nested task that requires another resource of its parent could never run: it
// is refused with an error that says so. If there is enough of the resource for both, it runs.
func TestWaitingTasksKeepOtherResources(t *testing.T) {
	in, ctx := own(t, tidemill.Config{Resources: map[string]float64{"cpu": 1, "gpu": 2}})
	child := noopIn(in)
	parent := engine.NewFunc("parent", func(ctx context.Context, gpus int) (int, error) {
		return child.Submit(ctx, gpus, engine.Resource("gpu", float64(gpus))).Get(ctx)
	}, in, engine.Resource("gpu", 1), engine.Retries(0))
	if v, err := parent.Submit(ctx, 1).Get(ctx); v != 1 || err != nil {
		t.Errorf("parent and child with one gpu each: got %d, error %v; want 1", v, err)
	}
	_, err := parent.Submit(ctx, 2).Get(ctx)
	if err == nil {
		t.Fatal("a child with two gpus of two, of which its parent has one: got no error")
	}
	contains(t, err.Error(), "noop", "infeasible", "needs cpu=1 gpu=2", "hold gpu=1", "could never run")
}

// Submit with the context of a task that has ended is an error.
func TestSubmitAfterTheTaskHasEnded(t *testing.T) {
	in, ctx := own(t, oneCPU)
	f := noopIn(in)
	contexts := make(chan context.Context, 1)
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (int, error) { contexts <- ctx; return n, nil }, in)
	if _, err := parent.Submit(ctx, 1).Get(ctx); err != nil {
		t.Fatalf("the parent: %v", err)
	}
	if _, err := f.Submit(context.WithoutCancel(<-contexts), 1).Get(ctx); !errors.Is(err, engine.ErrTaskOver) {
		t.Errorf("got error %v, want %v", err, engine.ErrTaskOver)
	}
}
