package enginetest_test

import (
	"context"
	"testing"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
)

// Messages carry many tasks: a single task costs the server four messages in and three out, but each of ten thousand tasks
// a hundredth of that. A child that runs on its parent's agent costs none.
func TestMessagesPerTask(t *testing.T) {
	const n, depth = 10_000, 12
	registry := engine.NewRegistry()
	noop := engine.NewFunc("noop", func(_ context.Context, n int) (int, error) { return n, nil }, engine.In(registry))
	var tree *engine.Func[int, int]
	tree = engine.NewFunc("tree", func(ctx context.Context, depth int) (int, error) {
		if depth == 0 {
			return 1, nil
		}
		both, err := engine.GetAll(ctx, []engine.Ref[int]{tree.Submit(ctx, depth-1), tree.Submit(ctx, depth-1)})
		if err != nil {
			return 0, err
		}
		return both[0] + both[1], nil
	}, engine.In(registry))
	ctx := enginetest.Start(t, enginetest.Config{Registry: registry})
	submits := func() {
		var refs []engine.Ref[int]
		for i := range n {
			refs = append(refs, noop.Submit(ctx, i))
		}
		_, err := engine.GetAll(ctx, refs)
		check(t, err)
	}
	maps := func() {
		for _, err := range engine.Map(ctx, noop, func(yield func(int) bool) {
			for i := 0; i < n && yield(i); i++ {
			}
		}) {
			check(t, err)
		}
	}
	nests := func() {
		_, err := tree.Submit(ctx, depth).Get(ctx)
		check(t, err)
	}
	for _, c := range []struct {
		name  string
		run   func()
		tasks int
		most  float64 // messages a task, in and out
	}{{"submits", submits, n, 0.1}, {"map", maps, n, 0.1}, {"nested", nests, 2 << depth, 0.01}} {
		c.run() // the first time, run times are not known
		before := enginetest.Messages(ctx)
		c.run()
		each := float64(enginetest.Messages(ctx)-before) / float64(c.tasks)
		t.Logf("%s: %.4f messages a task", c.name, each)
		if each > c.most {
			t.Errorf("%s: %.3f messages a task, want at most %g", c.name, each, c.most)
		}
	}
}
