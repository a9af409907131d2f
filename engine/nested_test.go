package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
)

// oneCPU configures a cluster of one node with one CPU.
var oneCPU = tidemill.Config{Resources: map[string]float64{"cpu": 1}}

// fibIn returns a function that computes Fibonacci numbers by submitting itself twice.
func fibIn(in engine.Option) *engine.Func[int, int] {
	var fib *engine.Func[int, int]
	fib = engine.NewFunc("fib", func(ctx context.Context, n int) (int, error) {
		if n < 2 {
			return n, nil
		}
		a, b := fib.Submit(ctx, n-1), fib.Submit(ctx, n-2)
		x, err := a.Get(ctx)
		if err != nil {
			return 0, err
		}
		y, err := b.Get(ctx)
		return x + y, err
	}, in)
	return fib
}

func TestNestedTasks(t *testing.T) {
	for _, cfg := range []tidemill.Config{oneCPU, {Resources: map[string]float64{"cpu": 4}}} {
		t.Run(fmt.Sprint(cfg.Resources), func(t *testing.T) {
			in, ctx := own(t, cfg)
			if v, err := fibIn(in).Submit(ctx, 15).Get(ctx); v != 610 || err != nil {
				t.Errorf("fib(15): got %d, error %v; want 610", v, err)
			}
		})
	}
}

// A long chain of nested tasks, each of which waits for the next, runs on one CPU.
func TestDeepChainOnOneCPU(t *testing.T) {
	in, ctx := own(t, oneCPU)
	for _, depth := range []int{50, 1000, 3000} {
		var down *engine.Func[int, int]
		down = engine.NewFunc(fmt.Sprint("down", depth), func(ctx context.Context, n int) (int, error) {
			if n == 0 {
				return 0, nil
			}
			below, err := down.Submit(ctx, n-1).Get(ctx)
			return below + 1, err
		}, in)
		if v, err := down.Submit(ctx, depth).Get(ctx); v != depth || err != nil {
			t.Errorf("depth %d: got %d, error %v; want the depth", depth, v, err)
		}
	}
}

// A task gives up its CPU whichever function it waits in, so that its nested tasks can run on a node with one CPU.
func TestAllWaysOfWaitingGiveUpTheCPU(t *testing.T) {
	ways := map[string]func(ctx context.Context, f *engine.Func[int, int], refs []engine.Ref[int]) error{
		"get": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			_, err := refs[2].Get(ctx)
			return err
		},
		"get with a context of its own": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			_, err := refs[2].Get(ctx)
			return err
		},
		"get all": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			_, err := engine.GetAll(ctx, refs)
			return err
		},
		"wait": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			_, _, err := engine.Wait(ctx, refs, 2)
			return err
		},
		"completed": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			for _, err := range engine.Completed(ctx, refs) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"done": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			<-refs[0].Done(ctx)
			<-refs[1].Done(ctx)
			return nil
		},
		"map": func(ctx context.Context, f *engine.Func[int, int], _ []engine.Ref[int]) error {
			for _, err := range engine.Map(ctx, f, slices.Values([]int{1, 2, 3})) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"goroutines": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			errs := make(chan error, len(refs))
			for _, r := range refs {
				go func() { _, err := r.Get(ctx); errs <- err }()
			}
			var all error
			for range refs {
				all = errors.Join(all, <-errs)
			}
			return all
		},
		"cancel": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			return refs[0].Cancel(ctx)
		},
		"put": func(ctx context.Context, _ *engine.Func[int, int], refs []engine.Ref[int]) error {
			_, err := engine.Put(ctx, refs).Get(ctx)
			return err
		},
	}
	for name, wait := range ways {
		t.Run(name, func(t *testing.T) {
			in, ctx := own(t, oneCPU)
			f := noopIn(in)
			parent := engine.NewFunc("parent", func(ctx context.Context, n int) (int, error) {
				refs := []engine.Ref[int]{f.Submit(ctx, 1), f.Submit(ctx, 2), f.Submit(ctx, 3)}
				return n, wait(ctx, f, refs)
			}, in, engine.Retries(0))
			for range 3 {
				if v, err := parent.Submit(ctx, 7).Get(ctx); v != 7 || err != nil {
					t.Fatalf("got %d, error %v; want 7", v, err)
				}
			}
		})
	}
}

// both is a result with Refs in it.
type both struct {
	Left, Right engine.Ref[int]
	Name        string
}

// A result may contain Refs to a nested task and to a value that the task has put.
func TestRefsToNestedTasksInAResult(t *testing.T) {
	in, ctx := own(t, oneCPU)
	f := noopIn(in)
	var ran atomic.Int64
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (both, error) {
		ran.Add(1)
		return both{f.Submit(ctx, n), engine.Put(ctx, n+1), "of its own"}, nil
	}, in)
	p, err := parent.Submit(ctx, 5).Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all, err := engine.GetAll(ctx, []engine.Ref[int]{p.Left, p.Right})
	if err != nil || all[0] != 5 || all[1] != 6 || p.Name != "of its own" {
		t.Errorf("got values %v, name %q, error %v; want 5 and 6, name \"of its own\"", all, p.Name, err)
	}
	if n := ran.Load(); n != 1 {
		t.Errorf("the parent ran %d times, want once", n)
	}
}

// A Ref in a result may be of a nested task that failed: the task has a result all the same, and Get of the Ref returns the
// failure.
func TestFailedRefInAResult(t *testing.T) {
	in, ctx := own(t, oneCPU)
	bad := engine.NewFunc("bad", func(context.Context, int) (int, error) { return 0, engine.NonRetryable(errors.New("it is bad")) }, in)
	huge := engine.NewFunc("huge", func(context.Context, int) (int, error) { return 1, nil }, in, engine.CPUs(64))
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (both, error) {
		return both{bad.Submit(ctx, n), huge.Submit(ctx, n), "has its name"}, nil
	}, in)
	look := engine.NewFunc("look", func(ctx context.Context, b both) (string, error) { return b.Name, nil }, in)
	p, err := parent.Submit(ctx, 5).Get(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var f *task.Failure
	if _, err := p.Left.Get(ctx); !errors.As(err, &f) || f.Func != "bad" || f.Node == "" || f.Attempt != 1 {
		t.Errorf("the Ref of a failed task: got error %v, want the failure of bad, attempt 1, with its node", err)
	}
	if _, err := p.Right.Get(ctx); !errors.Is(err, engine.ErrInfeasible) {
		t.Errorf("the Ref of a task that no node can run: got error %v, want %v", err, engine.ErrInfeasible)
	}
	if _, err := look.Submit(ctx, p).Get(ctx); err == nil {
		t.Error("a task whose input has a Ref to a failure: got no error")
	} else {
		contains(t, err.Error(), "bad", "it is bad")
	}
}

// When a task ends, those of its children to which its result does not refer are cancelled.
func TestChildrenAreCancelledWithTheirParent(t *testing.T) {
	in, ctx := own(t, tidemill.Config{Resources: map[string]float64{"cpu": 4}})
	ended := make(chan error, 1)
	began := make(chan struct{}, 1)
	slow := engine.NewFunc("slow", func(ctx context.Context, _ int) (int, error) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return 0, ctx.Err()
	}, in)
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (int, error) {
		slow.Submit(ctx, 1)
		<-began
		return n, nil
	}, in)
	if v, err := parent.Submit(ctx, 5).Get(ctx); v != 5 || err != nil {
		t.Errorf("the parent: got %d, error %v; want 5", v, err)
	}
	if err := <-ended; !errors.Is(err, engine.ErrCancelled) {
		t.Errorf("the child's context ended with %v, want %v", err, engine.ErrCancelled)
	}
}

// The failure of a nested task is an error of Get in its parent, which can handle it.
func TestNestedTaskFails(t *testing.T) {
	in, ctx := own(t, oneCPU)
	bad := engine.NewFunc("bad", func(_ context.Context, n int) (int, error) {
		switch n {
		case 1:
			panic("of the child")
		case 2:
			return 0, engine.NonRetryable(errors.New("an error of the child"))
		}
		return n, nil
	}, in, engine.Retries(0))
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (string, error) {
		_, err := bad.Submit(ctx, n).Get(ctx)
		if err == nil {
			return "", errors.New("no error")
		}
		return err.Error(), nil
	}, in, engine.Retries(0))
	for n, want := range map[int]string{1: "panic", 2: "an error of the child"} {
		if text, err := parent.Submit(ctx, n).Get(ctx); err != nil {
			t.Errorf("the parent of child %d: %v", n, err)
		} else {
			contains(t, text, "bad", want)
		}
	}
}
