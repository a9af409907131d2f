package engine_test

import (
	"testing"

	"github.com/tidemill/tidemill"
)

// Nested tasks that do almost nothing: fib(20) is 21,891 tasks.
func BenchmarkFib(b *testing.B) {
	in, ctx := own(b, tidemill.Config{})
	fib := fibIn(in)
	b.ReportAllocs()
	for b.Loop() {
		if v, err := fib.Submit(ctx, 20).Get(ctx); v != 6765 || err != nil {
			b.Fatalf("fib(20): got %d, error %v; want 6765", v, err)
		}
	}
	b.ReportMetric(float64(b.N)*21891/b.Elapsed().Seconds(), "tasks/s")
}
