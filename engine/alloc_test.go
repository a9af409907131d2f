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
	registry := engine.NewRegistry()
	noop := noopIn(engine.In(registry))
	ctx := open(t, tidemill.Config{Registry: registry})
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
	fib := fibIn(engine.In(registry))
	nested := func() {
		if _, err := fib.Submit(ctx, 24).Get(ctx); err != nil { // 150,049 tasks
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		run   func()
		tasks int
		most  float64 // a task
	}{{"Map", mapped, n, 2.5}, {"Submit and GetAll", submitted, n, 4}, {"nested", nested, 150_049, 4.5}} {
		c.run() // learns how long a task runs
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c.run()
		runtime.ReadMemStats(&after)
		if each := float64(after.Mallocs-before.Mallocs) / float64(c.tasks); each > c.most {
			t.Errorf("%s: %.2f allocations a task, at most %.1f", c.name, each, c.most)
		}
	}
}
