package engine_test

import (
	"testing"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// A task allocates only what belongs to the user: a handle and a result for a Ref, and a context for the function. The
// limits count the allocations of the whole process, with the NATS server. Each run has so many tasks that what is
// allocated for a batch or by the server's timers does not show.
func TestAllocOnTheWay(t *testing.T) {
	registry := engine.NewRegistry()
	noop, fib := noopIn(engine.In(registry)), fibIn(engine.In(registry))
	ctx := open(t, tidemill.Config{Registry: registry})
	const n = 100_000
	for _, c := range []struct {
		name  string
		run   func() error
		tasks float64
		limit float64 // allocations for each task
	}{
		{"Map", func() error {
			for _, err := range engine.Map(ctx, noop, upTo(n)) {
				if err != nil {
					return err
				}
			}
			return nil
		}, n, 2.5},
		{"Submit and GetAll", func() error {
			refs := make([]engine.Ref[int], n)
			for i := range refs {
				refs[i] = noop.Submit(ctx, i)
			}
			_, err := engine.GetAll(ctx, refs)
			return err
		}, n, 4},
		{"nested tasks", func() error {
			_, err := fib.Submit(ctx, 24).Get(ctx)
			return err
		}, 150_049, 4.5}, // the tasks of fib(24)
	} {
		var failed error
		allocated := testing.AllocsPerRun(1, func() { // a first run, which is not counted, lets the session measure run times
			if err := c.run(); err != nil {
				failed = err
			}
		})
		if failed != nil {
			t.Fatalf("%s: %v", c.name, failed)
		}
		if each := allocated / c.tasks; each > c.limit {
			t.Errorf("%s: got %.2f allocations for each task, want at most %.1f", c.name, each, c.limit)
		} else {
			t.Logf("%s: %.2f allocations for each task, the limit is %.1f", c.name, each, c.limit)
		}
	}
}
