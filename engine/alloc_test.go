package engine_test

import (
	"runtime"
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Nothing on the way of a task allocates for each task but what is the user's: a handle and a result for
// a Ref, a context for the function. Counted over the whole process, server included.
func TestAllocOnTheWay(t *testing.T) {
	ctx := open(t, tidemill.Config{})
	const n = 100_000
	mapped := func() {
		for _, err := range engine.Map(ctx, noop, upTo(n)) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	submitted := func() {
		refs := make([]engine.Ref[int], n)
		for i := range refs {
			refs[i] = noop.Submit(ctx, i)
		}
		if _, err := engine.GetAll(ctx, refs); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		run  func()
		most float64 // a task
	}{{"Map", mapped, 2.5}, {"Submit and GetAll", submitted, 4}} {
		c.run() // learns how long a task runs
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.run()
		runtime.ReadMemStats(&after)
		if each := float64(after.Mallocs-before.Mallocs) / n; each > c.most {
			t.Errorf("%s: %.2f allocations a task, at most %.1f", c.name, each, c.most)
		}
	}
}
