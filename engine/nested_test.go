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

// oneSlot is a cluster of one node that runs one task at a time.
var oneSlot = tidemill.Config{Resources: map[string]float64{"cpu": 1}}

// fibIn is the function that calls itself twice.
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

func TestATaskSubmitsTasks(t *testing.T) {
	for _, cfg := range []tidemill.Config{oneSlot, {Resources: map[string]float64{"cpu": 4}}} {
		t.Run(fmt.Sprint(cfg.Resources), func(t *testing.T) {
			in, ctx := own(t, cfg)
			if v, err := fibIn(in).Submit(ctx, 15).Get(ctx); v != 610 || err != nil {
				t.Errorf("%d, %v", v, err)
			}
		})
	}
}

// A chain of calls, each waiting for the next, is as deep as it likes on one slot.
func TestDeepOnOneSlot(t *testing.T) {
	in, ctx := own(t, oneSlot)
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
			t.Errorf("%d deep: %d, %v", depth, v, err)
		}
	}
}

// However a task waits, its slot is lent.
func TestWaysOfWaitingLendTheSlot(t *testing.T) {
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
			in, ctx := own(t, oneSlot)
			f := noopIn(in)
			parent := engine.NewFunc("parent", func(ctx context.Context, n int) (int, error) {
				refs := []engine.Ref[int]{f.Submit(ctx, 1), f.Submit(ctx, 2), f.Submit(ctx, 3)}
				return n, wait(ctx, f, refs)
			}, in, engine.Retries(0))
			for range 3 {
				if v, err := parent.Submit(ctx, 7).Get(ctx); v != 7 || err != nil {
					t.Fatalf("%d, %v", v, err)
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

// A Ref in a result is settled before the result is there.
func TestARefInAResult(t *testing.T) {
	in, ctx := own(t, oneSlot)
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
	if err != nil || all[1] != 6 || p.Name != "of its own" {
		t.Errorf("%v, %v, %q", all, err, p.Name)
	}
	if n := ran.Load(); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// What a Ref in a result refers to may have failed: that is what the Ref says then, and the task has its result.
func TestAFailedRefInAResult(t *testing.T) {
	in, ctx := own(t, oneSlot)
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
		t.Errorf("%v", err)
	}
	if _, err := p.Right.Get(ctx); !errors.Is(err, engine.ErrInfeasible) {
		t.Errorf("%v", err)
	}
	if _, err := look.Submit(ctx, p).Get(ctx); err == nil {
		t.Error("a task whose input refers to a failure ran")
	} else {
		contains(t, err.Error(), "bad", "it is bad")
	}
}

// Children to which the result does not refer are cancelled with their parent, the others are not.
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
		t.Errorf("%d, %v", v, err)
	}
	if err := <-ended; !errors.Is(err, engine.ErrCancelled) {
		t.Errorf("the child ended with %v", err)
	}
}

// A child's failure is its parent's to deal with.
func TestAChildFails(t *testing.T) {
	in, ctx := own(t, oneSlot)
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
			t.Error(err)
		} else {
			contains(t, text, "bad", want)
		}
	}
}
