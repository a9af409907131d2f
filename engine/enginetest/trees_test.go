package enginetest_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
)

// sprout is a tree of tasks that is to grow: so deep, and each of its tasks takes so long.
type sprout struct {
	Seed  int
	Depth int
	Takes time.Duration
}

// grown is a tree that has grown, or one that grows on.
type grown struct {
	Leaves  int
	Below   []engine.Ref[grown]
	Ballast []byte
}

var errWrong = errors.New("a wrong answer")

// growOne waits for what is below it in one of several ways, or does not wait and returns that.
func (s *simulation) growOne(ctx context.Context, in sprout) (grown, error) {
	if in.Takes > 0 {
		timer := time.NewTimer(in.Takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return grown{}, context.Cause(ctx)
		}
	}
	if in.Seed%11 == 0 && engine.Attempt(ctx) == 1 {
		return grown{}, errPlanned
	}
	if in.Depth == 0 {
		g := grown{Leaves: 1}
		if in.Seed%16 == 0 {
			g.Ballast = make([]byte, ballast)
		}
		return g, nil
	}
	var below []engine.Ref[grown]
	for i := range 2 {
		below = append(below, s.grow.Submit(ctx, sprout{in.Seed*2 + i, in.Depth - 1, in.Takes}))
	}
	switch in.Seed % 5 {
	case 0:
		return grown{Below: below}, nil
	case 1:
		if _, err := engine.GetAll(ctx, below); err != nil {
			return grown{}, err
		}
	case 2:
		for _, err := range engine.Completed(ctx, below) {
			if err != nil {
				return grown{}, err
			}
		}
	case 3:
		<-below[1].Done(ctx)
	}
	var all grown
	for _, ref := range below {
		n, err := s.leavesOf(ctx, ref)
		if err != nil {
			return grown{}, err
		}
		all.Leaves += n
	}
	return all, nil
}

// leavesOf waits for a tree and counts its leaves.
func (s *simulation) leavesOf(ctx context.Context, ref engine.Ref[grown]) (int, error) {
	g, err := ref.Get(ctx)
	n := g.Leaves
	for _, below := range g.Below {
		more, errBelow := s.leavesOf(ctx, below)
		n += more
		err = errors.Join(err, errBelow)
	}
	return n, err
}

// A large tree spreads: every agent works at it, however fast its tasks are.
func TestATreeSpreads(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes time.Duration // of a leaf
		run   func(t *testing.T, cfg enginetest.Config, test func(t *testing.T, ctx context.Context))
	}{
		{"virtual time", time.Millisecond, enginetest.Run},
		{"real time", 0, func(t *testing.T, cfg enginetest.Config, test func(t *testing.T, ctx context.Context)) {
			test(t, enginetest.Start(t, cfg))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ran sync.Map // of *atomic.Int64 by node
			registry := engine.NewRegistry()
			var tree *engine.Func[int, int]
			tree = engine.NewFunc("tree", func(ctx context.Context, depth int) (int, error) {
				n, _ := ran.LoadOrStore(engine.NodeID(ctx), new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				if depth == 0 {
					if c.takes > 0 {
						passes(c.takes)
					}
					return 1, nil
				}
				left, right := tree.Submit(ctx, depth-1), tree.Submit(ctx, depth-1)
				l, err := left.Get(ctx)
				if err != nil {
					return 0, err
				}
				r, err := right.Get(ctx)
				return l + r, err
			}, engine.In(registry))
			c.run(t, enginetest.Config{Nodes: 3, Registry: registry}, func(t *testing.T, ctx context.Context) {
				if n, err := tree.Submit(ctx, 17).Get(ctx); n != 1<<17 || err != nil {
					t.Errorf("%d leaves, %v", n, err)
				}
			})
			nodes, all := 0, int64(0)
			ran.Range(func(node, n any) bool {
				t.Log(node, "ran", n.(*atomic.Int64).Load())
				nodes++
				all += n.(*atomic.Int64).Load()
				return true
			})
			if nodes != 3 || all != 1<<18-1 {
				t.Errorf("%d nodes ran %d tasks, want 3 and %d", nodes, all, 1<<18-1)
			}
		})
	}
}

// An agent on which many tasks wait takes nothing but children.
func TestManyWait(t *testing.T) {
	const most, parents = 256, 400 // hotpath.md
	registry := engine.NewRegistry()
	gate := make(chan struct{})
	var waiting atomic.Int64
	child := engine.NewFunc("child", func(ctx context.Context, n int) (int, error) {
		<-gate
		return n, nil
	}, engine.In(registry), engine.Resource("licence", 1))
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (int, error) {
		waiting.Add(1)
		return child.Submit(ctx, n).Get(ctx)
	}, engine.In(registry))
	cfg := enginetest.Config{Registry: registry, Resources: map[string]float64{"licence": 1}}
	enginetest.Run(t, cfg, func(t *testing.T, ctx context.Context) {
		gate = make(chan struct{}) // of the bubble
		var refs []engine.Ref[int]
		for n := range parents {
			refs = append(refs, parent.Submit(ctx, n))
		}
		passes(time.Minute)
		if n := waiting.Load(); n < most || n > most+2 {
			t.Errorf("%d tasks wait, want %d and one a slot at most", n, most)
		}
		close(gate)
		if _, err := engine.GetAll(ctx, refs); err != nil {
			t.Error(err)
		}
		if n := waiting.Load(); n != parents {
			t.Errorf("%d of %d ran", n, parents)
		}
	})
}

// An agent that dies in the middle of a tree, at its root or in its branches, takes nothing with it but time: those
// tasks run again that had not been recorded, and make their children again.
func TestAnAgentDiesInATree(t *testing.T) {
	const depth = 9
	for _, after := range []int64{1, 100, 300, 500} {
		var leaves atomic.Int64
		var died sync.Map // nodes that were killed
		registry := engine.NewRegistry()
		var tree *engine.Func[int, int]
		tree = engine.NewFunc("tree", func(ctx context.Context, depth int) (int, error) {
			if depth == 0 {
				passes(20 * time.Millisecond)
				if n := leaves.Add(1); n == after || n == after+150 {
					died.Store(engine.NodeID(ctx), true)
					enginetest.Kill(ctx, engine.NodeID(ctx))
				}
				return 1, nil
			}
			left, right := tree.Submit(ctx, depth-1), tree.Submit(ctx, depth-1)
			both, err := engine.GetAll(ctx, []engine.Ref[int]{left, right})
			if err != nil {
				return 0, err
			}
			return both[0] + both[1], nil
		}, engine.In(registry))
		enginetest.Run(t, enginetest.Config{Nodes: 3, Registry: registry}, func(t *testing.T, ctx context.Context) {
			if n, err := tree.Submit(ctx, depth).Get(ctx); n != 1<<depth || err != nil {
				t.Errorf("killed after %d leaves: %d leaves, %v", after, n, err)
			}
			check(t, enginetest.Settle(ctx))
		})
		if n := leaves.Load(); n <= 1<<depth {
			t.Errorf("killed after %d leaves: %d ran in all, so none ran again", after, n)
		}
		died.Range(func(node, _ any) bool {
			t.Log(after, "leaves, then", node, "died;", leaves.Load(), "in all")
			return true
		})
	}
}

// What a result refers to outlives the agent that made it.
func TestAResultOutlivesItsAgent(t *testing.T) {
	type two struct{ Child, Own engine.Ref[[]byte] }
	registry := engine.NewRegistry()
	child := engine.NewFunc("child", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil }, engine.In(registry))
	var node atomic.Value
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (two, error) {
		node.Store(engine.NodeID(ctx))
		return two{child.Submit(ctx, n), engine.Put(ctx, make([]byte, n+1))}, nil
	}, engine.In(registry))
	enginetest.Run(t, enginetest.Config{Nodes: 2, Registry: registry}, func(t *testing.T, ctx context.Context) {
		ref := parent.Submit(ctx, ballast)
		<-ref.Done(ctx)
		enginetest.Kill(ctx, node.Load().(string))
		passes(3 * time.Hour) // somebody tidies up behind the dead
		p, err := ref.Get(ctx)
		check(t, err)
		c, err := p.Child.Get(ctx)
		check(t, err)
		o, err := p.Own.Get(ctx)
		check(t, err)
		if len(c) != ballast || len(o) != ballast+1 {
			t.Errorf("%d and %d bytes", len(c), len(o))
		}
	})
}
