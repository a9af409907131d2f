package engine_test

import (
	"testing"

	"github.com/tidemill/tidemill"
)

// Children that do nothing: fib(20) is 21,891 tasks.
func BenchmarkFib(b *testing.B) {
	in, ctx := own(b, tidemill.Config{})
	fib := fibIn(in)
	b.ReportAllocs()
	for b.Loop() {
		if v, err := fib.Submit(ctx, 20).Get(ctx); v != 6765 || err != nil {
			b.Fatal(v, err)
		}
	}
	b.ReportMetric(float64(b.N)*21891/b.Elapsed().Seconds(), "tasks/s")
}
