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

// removed waits until the store has removed so many values.
func removed(t *testing.T, c *tidemill.Cluster, want int64) {
	t.Helper()
	for until := time.Now().Add(time.Minute); c.Objects().Removed < want; {
		if time.Now().After(until) {
			t.Fatalf("%+v, want %d removed", c.Objects(), want)
		}
		runtime.GC() // finds Refs that were forgotten, and lets others run
	}
}

func opened(t *testing.T, cfg tidemill.Config) (engine.Option, *tidemill.Cluster, context.Context) {
	t.Helper()
	cfg.Registry = engine.NewRegistry()
	c, err := tidemill.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return engine.In(cfg.Registry), c, c.Context(t.Context())
}

// An object goes with its last Ref, whether it was released or forgotten; one that a task needs stays until the
// task has ended.
func TestObjectsGoWithTheirLastRef(t *testing.T) {
	in, c, ctx := opened(t, tidemill.Config{})
	f, open := gate(t, in)
	length := engine.NewFunc("length", func(_ context.Context, p pair) (int, error) { return len(p.Big), nil }, in)
	size := engine.NewFunc("size", func(ctx context.Context, p refs) (int, error) {
		b, err := p.Big.Get(ctx)
		return len(b), err
	}, in)
	engine.Put(ctx, bytes.Repeat([]byte("a"), 100_000)).Release()
	removed(t, c, 1)
	engine.Put(ctx, bytes.Repeat([]byte("b"), 100_000)) // forgotten
	removed(t, c, 2)
	if n, err := length.Submit(ctx, pair{Big: make([]byte, 100_000)}).Get(ctx); n != 100_000 || err != nil {
		t.Error(n, err)
	}
	removed(t, c, 3) // the input of a task that has ended
	big := engine.Put(ctx, bytes.Repeat([]byte("c"), 100_000))
	waits := size.Submit(ctx, refs{Big: big, Gate: f.Submit(ctx, 0)})
	big.Release()
	runtime.GC()
	open(0)
	if n, err := waits.Get(ctx); n != 100_000 || err != nil {
		t.Error(n, err)
	}
	removed(t, c, 4)
	if got := c.Objects(); got.Puts != 4 || got.Removed != 4 {
		t.Errorf("%+v", got)
	}
}

type pair struct{ Big []byte }

type refs struct {
	Big  engine.Ref[[]byte]
	Gate engine.Ref[int]
}

// The same large argument by value, a thousand times, is kept once; and counted.
func TestTheSameArgumentIsKeptOnce(t *testing.T) {
	in, c, ctx := opened(t, tidemill.Config{})
	length := engine.NewFunc("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, in)
	big := bytes.Repeat([]byte("x"), 300_000)
	hold := engine.Put(ctx, big)
	var all []engine.Ref[int]
	for range 1000 {
		all = append(all, length.Submit(ctx, big))
	}
	if _, err := engine.GetAll(ctx, all); err != nil {
		t.Fatal(err)
	}
	if got := c.Objects(); got.Puts != 1001 || got.Shared != 1000 || got.Removed != 0 {
		t.Errorf("%+v", got)
	}
	hold.Release()
	removed(t, c, 1)
}

// A named job finds its large results in the next run; when it ends, they go.
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
			c, err := tidemill.Open(t.Context(), tidemill.Config{Dir: dir, Job: "j", Registry: registry, Sync: tidemill.NoSyncForTwoMinutes})
			if err != nil {
				t.Fatal(err)
			}
			ctx := c.Context(t.Context())
			var all []engine.Ref[string]
			for i := range 3 {
				all = append(all, repeat.Submit(ctx, strings.Repeat(fmt.Sprint(i), 50_000)))
			}
			if run > 0 { // the first run ends before
				if n, err := join.Submit(ctx, all).Get(ctx); n != 1_500_000 || err != nil {
					t.Errorf("run %d: %d, %v", run, n, err)
				}
			}
			for i, r := range all {
				s, err := r.Get(ctx)
				if err != nil || len(s) != 500_000 || s[0] != byte('0'+i) || r.Resumed() != (run > 0) {
					t.Errorf("run %d: %d bytes, resumed %v, %v", run, len(s), r.Resumed(), err)
				}
				r.Release()
			}
			if run == 2 {
				if err := c.End(ctx); err != nil {
					t.Error(err)
				}
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if runs.Load() != 4 {
			t.Errorf("%d runs of functions", runs.Load())
		}
	})
}

// What is exported outlives its session, until its time is over.
func TestExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		registry := engine.NewRegistry()
		length := engine.NewFunc("length", func(_ context.Context, s string) (int, error) { return len(s), nil }, engine.In(registry))
		with := func(job string, do func(ctx context.Context)) {
			c, err := tidemill.Open(t.Context(), tidemill.Config{Dir: dir, Job: job, Registry: registry, Sync: tidemill.NoSyncForTwoMinutes})
			if err != nil {
				t.Fatal(err)
			}
			do(c.Context(t.Context()))
			_ = c.End(t.Context())
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
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
				t.Error("for no time")
			}
		})
		with("second", func(ctx context.Context) {
			n, err := engine.Import[int](ctx, small)
			if v, err2 := n.Get(ctx); v != 7 || err != nil || err2 != nil {
				t.Error(v, err, err2)
			}
			l, err := engine.Import[string](ctx, large)
			if v, err2 := length.SubmitRef(ctx, l).Get(ctx); v != 200_000 || err != nil || err2 != nil {
				t.Error(v, err, err2)
			}
			in, err := engine.Import[[]engine.Ref[string]](ctx, nested)
			if err != nil {
				t.Fatal(err)
			}
			inner, err := in.Get(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if v, err := inner[0].Get(ctx); len(v) != 200_000 || err != nil {
				t.Error(len(v), err)
			}
			if _, err := engine.Import[int](ctx, "x-nothing"); !errors.Is(err, engine.ErrNoExport) {
				t.Error(err)
			}
			if _, err := engine.Import[int](ctx, "no token"); !errors.Is(err, engine.ErrNoExport) {
				t.Error(err)
			}
			timer := time.NewTimer(3 * time.Minute)
			<-timer.C
			if _, err := engine.Import[int](ctx, nested); !errors.Is(err, engine.ErrNoExport) {
				t.Errorf("after its time: %v", err)
			}
			if _, err := engine.Import[int](ctx, large); err != nil {
				t.Errorf("before its time: %v", err)
			}
		})
	})
}
