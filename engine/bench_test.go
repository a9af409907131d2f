package engine_test

import (
	"context"
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

var noop = engine.NewFunc("noop", func(_ context.Context, n int) (int, error) { return n, nil })

// open opens a cluster, which is closed with the test, and returns its context.
func open(t testing.TB, cfg tidemill.Config) context.Context {
	t.Helper()
	cluster, err := tidemill.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open a cluster: %v", err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close the cluster: %v", err)
		}
	})
	return cluster.Context(t.Context())
}

// One task after the other: submit it, get its result.
func BenchmarkRoundTrip(b *testing.B) {
	ctx := open(b, tidemill.Config{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := noop.Submit(ctx, 7).Get(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// Submit 100,000 tasks, then get all results.
func BenchmarkSubmitGetAll(b *testing.B) {
	const n = 100_000
	ctx := open(b, tidemill.Config{})
	b.ReportAllocs()
	for b.Loop() {
		refs := make([]engine.Ref[int], n)
		for i := range refs {
			refs[i] = noop.Submit(ctx, i)
		}
		if _, err := engine.GetAll(ctx, refs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// Map over a million small inputs.
func BenchmarkMap(b *testing.B) {
	const n = 1_000_000
	ctx := open(b, tidemill.Config{})
	in := func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		got := 0
		for _, err := range engine.Map(ctx, noop, in) {
			if err != nil {
				b.Fatal(err)
			}
			got++
		}
		if got != n {
			b.Fatalf("got %d results, want %d", got, n)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
