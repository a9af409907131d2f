package engine_test

import (
	"bytes"
	"context"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
)

// What is put again while it is being removed is there, whichever was first.
func TestPutAgainWhileItIsRemoved(t *testing.T) {
	_, _, ctx := opened(t, tidemill.Config{})
	big := bytes.Repeat([]byte("x"), 70_000)
	var ended sync.WaitGroup
	for range 2 {
		ended.Go(func() {
			for range 3000 {
				r := engine.Put(ctx, big)
				if _, err := r.Get(ctx); err != nil {
					t.Error(err)
					return
				}
				r.Release()
			}
		})
	}
	ended.Wait()
}

// A Submit that waits for room has its input, though nobody else has it any more.
func TestInputWhileSubmitWaits(t *testing.T) {
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
		synctest.Wait() // Submit waits for room
		hold.Release()
		_ = pass(ctx, time.Minute) // the session has long removed what nobody holds
		open(0)
		ended.Wait()
		if n != 100_000 || err != nil {
			t.Error(n, err)
		}
		_ = pass(ctx, time.Minute)
		if got := c.Objects(); got.Removed != 1 {
			t.Errorf("%+v", got)
		}
		_ = c.Close(ctx)
	})
}

// References that are given to Put are its own from then on, though it waits for room.
func TestRefsWhilePutWaits(t *testing.T) {
	_, c, ctx := opened(t, tidemill.Config{ObjectMemory: 2 << 20})
	filler := engine.Put(ctx, make([]byte, 1_500_000))
	type both struct {
		R   engine.Ref[[]byte]
		Big []byte
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		inner := engine.Put(ctx, bytes.Repeat([]byte("x"), 100_000))
		out := engine.Put(ctx, both{inner, make([]byte, 1_000_000)}) // inner is used no more
		v, err := out.Get(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		if b, err := v.R.Get(ctx); len(b) != 100_000 || err != nil {
			t.Error(len(b), err)
		}
	})
	for c.Objects().Puts < 2 {
		runtime.Gosched()
	}
	for range 5 {
		runtime.GC()
	}
	filler.Release()
	ended.Wait()
}

// A task that could not be submitted leaves nothing behind.
func TestFailedSubmitLeavesNothing(t *testing.T) {
	in, c, ctx := opened(t, tidemill.Config{ObjectMemory: 8 << 20})
	length := engine.NewFunc("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, in, engine.Resource("nothing_has_it", 1))
	for i := range 20 {
		_, err := length.Submit(ctx, bytes.Repeat([]byte{byte(i)}, 1_000_000)).Get(ctx)
		if f := failure(t, err); f.Kind != task.KindInfeasible {
			t.Fatal(f)
		}
	}
	removed(t, c, 20)
}

// Inputs that need more memory than there is fail, or are brought one after another; nobody waits for ever.
func TestMoreInputThanMemory(t *testing.T) {
	in, c, ctx := opened(t, tidemill.Config{Dir: t.TempDir(), Job: "j", ObjectMemory: 1 << 20})
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
		t.Error(f)
	}
	if all, err := engine.Put(ctx, four).Get(ctx); len(all) != 4 || err != nil {
		t.Error(len(all), err) // the owner may have it
	}
	gated := f.Submit(ctx, 0)
	var together []engine.Ref[int]
	for range 3 { // of one batch, since they wait for one task
		for _, r := range four {
			together = append(together, size.Submit(ctx, refs{r, gated}))
		}
	}
	open(0)
	if all, err := engine.GetAll(ctx, together); len(all) != 12 || err != nil {
		t.Error(len(all), err)
	}
	_ = c.Close(ctx)
}

// A value that refers to very many objects, and to one object very often.
func TestManyReferencesToObjects(t *testing.T) {
	in, _, ctx := opened(t, tidemill.Config{})
	count := engine.NewFunc("count", func(_ context.Context, m []engine.Ref[[]byte]) (int, error) { return len(m), nil }, in)
	often := make([]engine.Ref[[]byte], 50_000)
	for i, one := range [2]engine.Ref[[]byte]{engine.Put(ctx, make([]byte, 65_000)), engine.Put(ctx, make([]byte, 66_000))} {
		for at := i; at < len(often); at += 2 {
			often[at] = one
		}
	}
	if n, err := count.Submit(ctx, often).Get(ctx); n != len(often) || err != nil {
		t.Error(n, err)
	}
}

// In every run of a job, a reference that is taken out of a value is called by the value's name and its place there.
func TestReferencesOutOfValuesInAJob(t *testing.T) {
	dir := t.TempDir()
	inRuns(t, dir, 3, func(run int, in engine.Option, c *tidemill.Cluster, ctx context.Context) {
		pass := engine.NewFunc("pass", func(_ context.Context, m []engine.Ref[string]) ([]engine.Ref[string], error) { return m, nil }, in)
		upper := engine.NewFunc("upper", func(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil }, in)
		both, err := pass.Submit(ctx, []engine.Ref[string]{engine.Put(ctx, "a"), engine.Put(ctx, "b")}).Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range both {
			i = (i + run) % len(both) // the order is another in each run
			r := upper.SubmitRef(ctx, both[i])
			if s, err := r.Get(ctx); s != []string{"A", "B"}[i] || err != nil || r.Resumed() != (run > 0) {
				t.Errorf("run %d: upper(%d) = %q, %v, resumed %v", run, i, s, err, r.Resumed())
			}
		}
	})
}

// What the log of a job has stays, whoever lets go of it, in later runs too.
func TestRecordedResultsStay(t *testing.T) {
	inRuns(t, t.TempDir(), 3, func(run int, in engine.Option, c *tidemill.Cluster, ctx context.Context) {
		repeat := engine.NewFunc("repeat", func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil }, in)
		pass := engine.NewFunc("pass", func(_ context.Context, m []engine.Ref[string]) ([]engine.Ref[string], error) { return m, nil }, in)
		a := repeat.Submit(ctx, 200_000)
		m, err := pass.Submit(ctx, []engine.Ref[string]{a}).Get(ctx)
		if err != nil {
			t.Fatal(err)
		}
		m[0].Release()
		gone := engine.Put(ctx, make([]byte, 100_000))
		gone.Release()
		removed(t, c, 1) // what nobody holds is gone by now
		if s, err := a.Get(ctx); len(s) != 200_000 || err != nil {
			t.Errorf("run %d: %d, %v", run, len(s), err)
		}
	})
}

// A value that is put as a whole, since it refers to much, is called the same in every run.
func TestBundlesInAJob(t *testing.T) {
	inRuns(t, t.TempDir(), 2, func(run int, in engine.Option, c *tidemill.Cluster, ctx context.Context) {
		count := engine.NewFunc("count", func(_ context.Context, m []engine.Ref[[]byte]) (int, error) { return len(m), nil }, in)
		many := make([]engine.Ref[[]byte], 100)
		for i := range many {
			many[i] = engine.Put(ctx, bytes.Repeat([]byte{byte(i)}, 20_000))
		}
		r := count.SubmitRef(ctx, engine.Put(ctx, many))
		if n, err := r.Get(ctx); n != len(many) || err != nil || r.Resumed() != (run > 0) {
			t.Errorf("run %d: %d, %v, resumed %v", run, n, err, r.Resumed())
		}
	})
}

// Values may be used by many goroutines at once, and released meanwhile: then Put has it all, or says so.
func TestPutAndGetAndReleaseAtOnce(t *testing.T) {
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
				t.Errorf("%q, %v", s, err)
			}
		}
	})
	ended.Wait()
}

// An input that waits for room in the store keeps nobody else waiting.
func TestInputWaitsForRoomAlone(t *testing.T) {
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
		t.Error(n, err)
	}
	select {
	case <-waits.Done(ctx):
		t.Error("it should wait for room")
	default:
	}
	filler.Release()
	if n, err := waits.Get(ctx); n != len(many) || err != nil {
		t.Error(n, err)
	}
}

// A map cannot be sent whose keys are not found again.
func TestNaNAsAKey(t *testing.T) {
	in, _, ctx := opened(t, tidemill.Config{})
	f := engine.NewFunc("f", func(_ context.Context, m map[float64]engine.Ref[int]) (int, error) { return len(m), nil }, in)
	_, err := f.Submit(ctx, map[float64]engine.Ref[int]{math.NaN(): engine.Put(ctx, 1)}).Get(ctx)
	contains(t, failure(t, err).Error(), "is not equal to itself")
}

// inRuns runs a program so often as one job.
func inRuns(t *testing.T, dir string, n int, run func(run int, in engine.Option, c *tidemill.Cluster, ctx context.Context)) {
	t.Helper()
	for i := range n {
		registry := engine.NewRegistry()
		c, err := tidemill.Open(t.Context(), tidemill.Config{Dir: dir, Job: "j", Registry: registry})
		if err != nil {
			t.Fatal(err)
		}
		run(i, engine.In(registry), c, c.Context(t.Context()))
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
