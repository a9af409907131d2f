package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// collectGarbage returns when the garbage collector has run, and cleanups of what it found unreachable have too. Nothing
// in it depends on the clock, so that it may run in a synctest bubble.
func collectGarbage(t *testing.T) {
	t.Helper()
	var ran atomic.Bool
	runtime.AddCleanup(new(*int), func(ran *atomic.Bool) { ran.Store(true) }, &ran)
	if !collectUntil(ran.Load) {
		t.Fatal("the cleanup of an unreachable object did not run within 1,000 garbage collections")
	}
}

// collectUntil runs the garbage collector until the cleanups that it starts have made done true. It gives up, and returns
// false, after 1,000 collections.
func collectUntil(done func() bool) bool {
	for range 1000 {
		if runtime.GC(); done() {
			return true
		}
	}
	return false
}

// wantRemoved checks that the store of large values has removed exactly this many by now. It must run in a synctest
// bubble, where it gives the session up to five virtual minutes: that is many of the rounds in which a session removes
// the values that nothing refers to.
func wantRemoved(t *testing.T, ctx context.Context, c *tidemill.Cluster, want int64) {
	t.Helper()
	for range 5 {
		if err := pass(ctx, time.Minute); err != nil {
			t.Fatalf("while the session removed values: %v", err)
		}
		if c.Objects().Removed == want {
			return
		}
	}
	t.Errorf("the store has removed %d values, want %d: %+v", c.Objects().Removed, want, c.Objects())
}

// opened opens a cluster with a registry of its own, and closes it with the test. It returns the option with which
// functions are registered, the cluster, and its context.
func opened(t *testing.T, cfg tidemill.Config) (engine.Option, *tidemill.Cluster, context.Context) {
	t.Helper()
	cfg.Registry = engine.NewRegistry()
	c, err := tidemill.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open a cluster: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close the cluster: %v", err)
		}
	})
	return engine.In(cfg.Registry), c, c.Context(t.Context())
}

// A large value is removed from the store after its Ref was released, after the last Ref to it was garbage collected, or
// after the task that needed it has ended, and not before.
func TestLargeValuesAreRemovedWithTheirLastRef(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, ctx := opened(t, tidemill.Config{})
		f, open := gate(t, in)
		length := engine.NewFunc("length", func(_ context.Context, p pair) (int, error) { return len(p.Big), nil }, in)
		size := engine.NewFunc("size", func(ctx context.Context, p refs) (int, error) {
			b, err := p.Big.Get(ctx)
			return len(b), err
		}, in)
		released := engine.Put(ctx, bytes.Repeat([]byte("a"), 100_000))
		wantRemoved(t, ctx, c, 0)
		released.Release()
		wantRemoved(t, ctx, c, 1)

		engine.Put(ctx, bytes.Repeat([]byte("b"), 100_000)) // nobody keeps the Ref
		collectGarbage(t)
		wantRemoved(t, ctx, c, 2)

		if n, err := length.Submit(ctx, pair{Big: make([]byte, 100_000)}).Get(ctx); n != 100_000 || err != nil {
			t.Errorf("a large input: got length %d, error %v; want 100,000", n, err)
		}
		wantRemoved(t, ctx, c, 3)

		big := engine.Put(ctx, bytes.Repeat([]byte("c"), 100_000))
		needsBig := size.Submit(ctx, refs{Big: big, Gate: f.Submit(ctx, 0)})
		big.Release()
		collectGarbage(t)
		wantRemoved(t, ctx, c, 3) // the task still needs it
		open(0)
		if n, err := needsBig.Get(ctx); n != 100_000 || err != nil {
			t.Errorf("a task whose input was released: got length %d, error %v; want 100,000", n, err)
		}
		wantRemoved(t, ctx, c, 4)
		if got := c.Objects(); got.Puts != 4 {
			t.Errorf("got %d values put, want 4: %+v", got.Puts, got)
		}
	})
}

type pair struct{ Big []byte }

type refs struct {
	Big  engine.Ref[[]byte]
	Gate engine.Ref[int]
}

// The same large argument, passed by value a thousand times, is stored once; the counters show it.
func TestTheSameArgumentIsStoredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, c, ctx := opened(t, tidemill.Config{})
		length := engine.NewFunc("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, in)
		big := bytes.Repeat([]byte("x"), 300_000)
		hold := engine.Put(ctx, big)
		var all []engine.Ref[int]
		for range 1000 {
			all = append(all, length.Submit(ctx, big))
		}
		if _, err := engine.GetAll(ctx, all); err != nil {
			t.Fatalf("1,000 tasks with the same argument: %v", err)
		}
		if got := c.Objects(); got.Puts != 1001 || got.Shared != 1000 || got.Removed != 0 {
			t.Errorf("got %+v, want 1,001 values put, 1,000 of them shared, and none removed", got)
		}
		hold.Release()
		wantRemoved(t, ctx, c, 1)
	})
}

// The next run of a named job finds the large results of the earlier ones.
func TestLargeResultsOfAJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, runs := t.TempDir(), atomic.Int64{}
		registry := engine.NewRegistry()
		repeat := engine.NewFunc("repeat", func(_ context.Context, s string) (string, error) { runs.Add(1); return strings.Repeat(s, 10), nil }, engine.In(registry))
		join := engine.NewFunc("join", func(ctx context.Context, all []engine.Ref[string]) (int, error) {
			total := 0
			for _, r := range all {
				s, err := r.Get(ctx)
				if err != nil {
					return 0, err
				}
				total += len(s)
			}
			runs.Add(1)
			return total, nil
		}, engine.In(registry))
		for run := range 3 {
			cfg := tidemill.Config{Dir: dir, Job: "j", Registry: registry, Sync: tidemill.NoSyncForTwoMinutes}
			runJob(t, cfg, func(c *tidemill.Cluster, ctx context.Context, _ engine.Option) {
				var all []engine.Ref[string]
				for i := range 3 {
					all = append(all, repeat.Submit(ctx, strings.Repeat(fmt.Sprint(i), 50_000)))
				}
				if run > 0 { // the first run is closed before it submits this
					if n, err := join.Submit(ctx, all).Get(ctx); n != 1_500_000 || err != nil {
						t.Errorf("run %d: join returned %d, error %v; want 1,500,000", run, n, err)
					}
				}
				for i, r := range all {
					s, err := r.Get(ctx)
					if err != nil || len(s) != 500_000 || s[0] != byte('0'+i) || r.Resumed() != (run > 0) {
						t.Errorf("run %d, result %d: got %d bytes, resumed %t, error %v; want 500,000 bytes of %q, resumed %t", run, i, len(s), r.Resumed(), err, byte('0'+i), run > 0)
					}
					r.Release()
				}
				if run == 2 {
					if err := c.End(ctx); err != nil {
						t.Errorf("end the job: %v", err)
					}
				}
			})
		}
		if runs.Load() != 4 {
			t.Errorf("functions ran %d times, want 4: three of repeat and one of join", runs.Load())
		}
	})
}

// An exported value outlives its session, until its time to live has passed.
func TestExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		registry := engine.NewRegistry()
		length := engine.NewFunc("length", func(_ context.Context, s string) (int, error) { return len(s), nil }, engine.In(registry))
		with := func(job string, do func(ctx context.Context)) {
			cfg := tidemill.Config{Dir: dir, Job: job, Registry: registry, Sync: tidemill.NoSyncForTwoMinutes}
			runJob(t, cfg, func(c *tidemill.Cluster, ctx context.Context, _ engine.Option) {
				do(ctx)
				if err := c.End(ctx); err != nil {
					t.Errorf("end job %s: %v", job, err)
				}
			})
		}
		var small, large, nested string
		with("first", func(ctx context.Context) {
			var err1, err2, err3 error
			small, err1 = engine.Put(ctx, 7).Export(ctx, time.Hour)
			ref := engine.Put(ctx, strings.Repeat("x", 200_000))
			large, err2 = ref.Export(ctx, time.Hour)
			nested, err3 = engine.Put(ctx, []engine.Ref[string]{ref, engine.Put(ctx, "y")}).Export(ctx, 2*time.Minute)
			if err := errors.Join(err1, err2, err3); err != nil {
				t.Fatal(err)
			}
			if _, err := engine.Put(ctx, 7).Export(ctx, 0); err == nil {
				t.Error("Export with a ttl of 0: got no error")
			}
		})
		with("second", func(ctx context.Context) {
			n, err := engine.Import[int](ctx, small)
			if v, err2 := n.Get(ctx); v != 7 || err != nil || err2 != nil {
				t.Errorf("import a small value: got %d, errors %v, %v; want 7", v, err, err2)
			}
			l, err := engine.Import[string](ctx, large)
			if v, err2 := length.SubmitRef(ctx, l).Get(ctx); v != 200_000 || err != nil || err2 != nil {
				t.Errorf("a task with an imported large value: got length %d, errors %v, %v; want 200,000", v, err, err2)
			}
			in, err := engine.Import[[]engine.Ref[string]](ctx, nested)
			if err != nil {
				t.Fatalf("import a value with Refs: %v", err)
			}
			inner, err := in.Get(ctx)
			if err != nil {
				t.Fatalf("get an imported value with Refs: %v", err)
			}
			if v, err := inner[0].Get(ctx); len(v) != 200_000 || err != nil {
				t.Errorf("a Ref in an imported value: got %d bytes, error %v; want 200,000", len(v), err)
			}
			for _, token := range []string{"x-nothing", "no token"} {
				if _, err := engine.Import[int](ctx, token); !errors.Is(err, engine.ErrNoExport) {
					t.Errorf("import token %q: got error %v, want %v", token, err, engine.ErrNoExport)
				}
			}
			if err := pass(ctx, 3*time.Minute); err != nil {
				t.Fatal(err)
			}
			if _, err := engine.Import[int](ctx, nested); !errors.Is(err, engine.ErrNoExport) {
				t.Errorf("import after the time to live: got error %v, want %v", err, engine.ErrNoExport)
			}
			if _, err := engine.Import[int](ctx, large); err != nil {
				t.Errorf("import before the end of the time to live: %v", err)
			}
		})
	})
}
