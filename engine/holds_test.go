package engine_test

import (
	"bytes"
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
)

// A value that is put again while it is being removed can be read, whichever of the two was first.
func TestPutDuringRemoval(t *testing.T) {
	_, _, ctx := opened(t, tidemill.Config{})
	big := bytes.Repeat([]byte("x"), 70_000)
	var ended sync.WaitGroup
	for range 2 {
		ended.Go(func() {
			for range 3000 {
				r := engine.Put(ctx, big)
				if _, err := r.Get(ctx); err != nil {
					t.Errorf("get a value that was just put: %v", err)
					return
				}
				r.Release()
			}
		})
	}
	ended.Wait()
}

// While a Submit waits at the bound on pending tasks, its large input is kept, even if nothing else refers to it.
func TestInputOfAWaitingSubmitIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, ctx := opened(t, tidemill.Config{})
		f, open := gate(t, in)
		length := engine.NewFunc("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, in)
		big := bytes.Repeat([]byte("x"), 100_000)
		hold := engine.Put(ctx, big)
		f.Submit(ctx, 0)
		var n int
		var err error
		var ended sync.WaitGroup
		ended.Go(func() { n, err = length.Submit(ctx, big, engine.Pending(1)).Get(ctx) })
		synctest.Wait() // Submit waits
		hold.Release()
		wantRemoved(t, ctx, c, 0)
		open(0)
		ended.Wait()
		if n != 100_000 || err != nil {
			t.Errorf("the task got %d bytes, error %v; want 100,000", n, err)
		}
		wantRemoved(t, ctx, c, 1)
	})
}

// While a Put waits for space in the store, the values that it refers to are kept, even if nothing else refers to them.
func TestRefsOfAWaitingPutAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, ctx := opened(t, tidemill.Config{ObjectMemory: 2 << 20})
		filler := engine.Put(ctx, make([]byte, 1_500_000))
		type both struct {
			R   engine.Ref[[]byte]
			Big []byte
		}
		var ended sync.WaitGroup
		ended.Go(func() {
			inner := engine.Put(ctx, bytes.Repeat([]byte("x"), 100_000))
			out := engine.Put(ctx, both{inner, make([]byte, 1_000_000)}) // the last use of inner
			v, err := out.Get(ctx)
			if err != nil {
				t.Errorf("get the value that was put: %v", err)
				return
			}
			if b, err := v.R.Get(ctx); len(b) != 100_000 || err != nil {
				t.Errorf("get the value that it refers to: got %d bytes, error %v; want 100,000", len(b), err)
			}
		})
		synctest.Wait() // the second Put of the goroutine waits
		collectGarbage(t)
		if err := pass(ctx, lease.RenewEvery); err != nil { // the session removes what nothing refers to
			t.Fatal(err)
		}
		if got := c.Objects(); got.Removed != 0 {
			t.Errorf("while Put waits, %d values were removed, want 0", got.Removed)
		}
		filler.Release()
		ended.Wait()
	})
}

// A task that could not be submitted leaves no large input in the store.
func TestFailedSubmitLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, ctx := opened(t, tidemill.Config{ObjectMemory: 8 << 20})
		length := engine.NewFunc("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, in, engine.Resource("nothing_has_it", 1))
		for i := range 20 {
			_, err := length.Submit(ctx, bytes.Repeat([]byte{byte(i)}, 1_000_000)).Get(ctx)
			if f := failure(t, err); f.Kind != task.KindInfeasible {
				t.Fatalf("submit %d: got failure %v, want kind %v", i, f, task.KindInfeasible)
			}
		}
		wantRemoved(t, ctx, c, 20)
	})
}

// Inputs that exceed the memory for large values fail; those that fit only one after another are run so. No task waits
// forever.
func TestMoreInputThanMemory(t *testing.T) {
	in, _, ctx := opened(t, tidemill.Config{Dir: t.TempDir(), Job: "j", ObjectMemory: 1 << 20})
	f, open := gate(t, in)
	count := engine.NewFunc("count", func(_ context.Context, m []engine.Ref[[]byte]) (int, error) { return len(m), nil }, in)
	size := engine.NewFunc("size", func(ctx context.Context, p refs) (int, error) {
		b, err := p.Big.Get(ctx)
		return len(b), err
	}, in)
	var four []engine.Ref[[]byte]
	for i := range 4 {
		four = append(four, engine.Put(ctx, bytes.Repeat([]byte{byte(i)}, 400_000)))
	}
	_, err := count.Submit(ctx, four).Get(ctx)
	if f := failure(t, err); f.Kind != task.KindTooLarge {
		t.Errorf("an input of 1.6 MB: got failure %v, want kind %v", f, task.KindTooLarge)
	}
	if all, err := engine.Put(ctx, four).Get(ctx); len(all) != 4 || err != nil { // no task, so nothing is loaded
		t.Errorf("a value with four Refs: got %d Refs, error %v; want 4", len(all), err)
	}
	gated := f.Submit(ctx, 0)
	var together []engine.Ref[int]
	for range 3 { // these tasks are in one batch, since they wait for the same task
		for _, r := range four {
			together = append(together, size.Submit(ctx, refs{r, gated}))
		}
	}
	open(0)
	if all, err := engine.GetAll(ctx, together); len(all) != 12 || err != nil {
		t.Errorf("tasks with an input of 0.4 MB each: got %d results, error %v; want 12", len(all), err)
	}
}

// A value may have very many references to one large value.
func TestManyRefsToTheSameValue(t *testing.T) {
	in, _, ctx := opened(t, tidemill.Config{})
	count := engine.NewFunc("count", func(_ context.Context, m []engine.Ref[[]byte]) (int, error) { return len(m), nil }, in)
	often := make([]engine.Ref[[]byte], 50_000)
	for i, one := range [2]engine.Ref[[]byte]{engine.Put(ctx, make([]byte, 65_000)), engine.Put(ctx, make([]byte, 66_000))} {
		for at := i; at < len(often); at += 2 {
			often[at] = one
		}
	}
	if n, err := count.Submit(ctx, often).Get(ctx); n != len(often) || err != nil {
		t.Errorf("got %d references, error %v; want %d", n, err, len(often))
	}
}

// In a named job, a Ref that is taken out of a value is identified by the value and its index in it, so that the tasks that
// use it are found again in the next run.
func TestRefsFromValuesAreResumed(t *testing.T) {
	dir := t.TempDir()
	inRuns(t, dir, 3, func(run int, in engine.Option, c *tidemill.Cluster, ctx context.Context) {
		pass := engine.NewFunc("pass", func(_ context.Context, m []engine.Ref[string]) ([]engine.Ref[string], error) { return m, nil }, in)
		upper := engine.NewFunc("upper", func(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil }, in)
		both, err := pass.Submit(ctx, []engine.Ref[string]{engine.Put(ctx, "a"), engine.Put(ctx, "b")}).Get(ctx)
		if err != nil {
			t.Fatalf("run %d: pass: %v", run, err)
		}
		for i := range both {
			i = (i + run) % len(both) // another order in each run
			r := upper.SubmitRef(ctx, both[i])
			if s, err := r.Get(ctx); s != []string{"A", "B"}[i] || err != nil || r.Resumed() != (run > 0) {
				t.Errorf("run %d: upper of Ref %d: got %q, error %v, resumed %t; want %q, resumed %t", run, i, s, err, r.Resumed(), []string{"A", "B"}[i], run > 0)
			}
		}
	})
}

// Large results that the log of a job refers to are not removed when their Refs are released, in later runs neither.
func TestRecordedResultsAreKept(t *testing.T) {
	synctest.Test(t, testRecordedResultsAreKept)
}

func testRecordedResultsAreKept(t *testing.T) {
	inRuns(t, t.TempDir(), 3, func(run int, in engine.Option, c *tidemill.Cluster, ctx context.Context) {
		repeat := engine.NewFunc("repeat", func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil }, in)
		pass := engine.NewFunc("pass", func(_ context.Context, m []engine.Ref[string]) ([]engine.Ref[string], error) { return m, nil }, in)
		a := repeat.Submit(ctx, 200_000)
		m, err := pass.Submit(ctx, []engine.Ref[string]{a}).Get(ctx)
		if err != nil {
			t.Fatalf("run %d: pass: %v", run, err)
		}
		m[0].Release()
		engine.Put(ctx, make([]byte, 100_000)).Release()
		wantRemoved(t, ctx, c, 1) // the value that was put, and nothing else
		if s, err := a.Get(ctx); len(s) != 200_000 || err != nil {
			t.Errorf("run %d: got %d bytes, error %v; want 200,000", run, len(s), err)
		}
	})
}

// A value with so many Refs that it is stored as one object (a bundle) has the same identity in every run of a job.
func TestBundlesAreResumed(t *testing.T) {
	inRuns(t, t.TempDir(), 2, func(run int, in engine.Option, c *tidemill.Cluster, ctx context.Context) {
		count := engine.NewFunc("count", func(_ context.Context, m []engine.Ref[[]byte]) (int, error) { return len(m), nil }, in)
		many := make([]engine.Ref[[]byte], 100)
		for i := range many {
			many[i] = engine.Put(ctx, bytes.Repeat([]byte{byte(i)}, 20_000))
		}
		r := count.SubmitRef(ctx, engine.Put(ctx, many))
		if n, err := r.Get(ctx); n != len(many) || err != nil || r.Resumed() != (run > 0) {
			t.Errorf("run %d: got %d Refs, error %v, resumed %t; want %d, resumed %t", run, n, err, r.Resumed(), len(many), run > 0)
		}
	})
}

// Goroutines may put, get and release the same values concurrently: a Put with a Ref that is released meanwhile succeeds
// as a whole, or fails.
func TestConcurrentPutGetRelease(t *testing.T) {
	_, _, ctx := opened(t, tidemill.Config{})
	inner := engine.Put(ctx, []engine.Ref[string]{engine.Put(ctx, "a")})
	var ended sync.WaitGroup
	for range 2 {
		ended.Go(func() {
			for range 300 {
				engine.Put(ctx, []engine.Ref[[]engine.Ref[string]]{inner})
			}
		})
	}
	ended.Go(func() {
		for range 300 {
			_, _ = inner.Get(ctx)
		}
	})
	ended.Go(func() {
		for range 300 {
			r := engine.Put(ctx, "a")
			var puts sync.WaitGroup
			puts.Go(func() { r.Release() })
			out := engine.Put(ctx, []engine.Ref[string]{r})
			puts.Wait()
			v, err := out.Get(ctx)
			if err != nil {
				continue
			}
			if s, err := v[0].Get(ctx); s != "a" || err != nil {
				t.Errorf("got %q, error %v; want a", s, err)
			}
		}
	})
	ended.Wait()
}

// While the input of one task waits for space in the store, other tasks run.
func TestInputThatWaitsForSpaceBlocksNoOtherTask(t *testing.T) {
	in, _, ctx := opened(t, tidemill.Config{ObjectMemory: 4 << 20})
	length := engine.NewFunc("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, in)
	count := engine.NewFunc("count", func(_ context.Context, m []engine.Ref[[]byte]) (int, error) { return len(m), nil }, in)
	filler := engine.Put(ctx, make([]byte, 3_500_000))
	many := make([]engine.Ref[[]byte], 100)
	for i := range many {
		many[i] = engine.Put(ctx, bytes.Repeat([]byte{byte(i)}, 20_000))
	}
	waits := count.Submit(ctx, many)
	if n, err := length.Submit(ctx, []byte("small")).Get(ctx); n != 5 || err != nil {
		t.Errorf("a task with a small input: got %d, error %v; want 5", n, err)
	}
	select {
	case <-waits.Done(ctx):
		t.Error("the task with the large input has ended, want that it waits for space")
	default:
	}
	filler.Release()
	if n, err := waits.Get(ctx); n != len(many) || err != nil {
		t.Errorf("the task with the large input: got %d, error %v; want %d", n, err, len(many))
	}
}

// A map with a NaN key cannot be encoded, since the key cannot be looked up.
func TestNaNKey(t *testing.T) {
	in, _, ctx := opened(t, tidemill.Config{})
	f := engine.NewFunc("f", func(_ context.Context, m map[float64]engine.Ref[int]) (int, error) { return len(m), nil }, in)
	_, err := f.Submit(ctx, map[float64]engine.Ref[int]{math.NaN(): engine.Put(ctx, 1)}).Get(ctx)
	contains(t, failure(t, err).Error(), "is not equal to itself")
}

// inRuns runs a program n times as the same named job.
func inRuns(t *testing.T, dir string, n int, run func(run int, in engine.Option, c *tidemill.Cluster, ctx context.Context)) {
	t.Helper()
	for i := range n {
		runJob(t, tidemill.Config{Dir: dir, Job: "j", Registry: engine.NewRegistry()}, func(c *tidemill.Cluster, ctx context.Context, in engine.Option) {
			run(i, in, c, ctx)
		})
	}
}

// runJob opens a cluster, calls run and closes the cluster, also if run ends the test.
func runJob(t *testing.T, cfg tidemill.Config, run func(c *tidemill.Cluster, ctx context.Context, in engine.Option)) {
	t.Helper()
	c, err := tidemill.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open a cluster for job %q: %v", cfg.Job, err)
	}
	defer func() {
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("close the cluster of job %q: %v", cfg.Job, err)
		}
	}()
	run(c, c.Context(t.Context()), engine.In(cfg.Registry))
}
