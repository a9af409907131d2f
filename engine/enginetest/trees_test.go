package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/enginetest"
)

// treeOrder is the input of a task that is the root of a binary tree of tasks.
type treeOrder struct {
	Seed  int           // chooses how the task waits for its children
	Depth int           // of the tree; 0 = a leaf
	Takes time.Duration // of each task, in virtual time
}

// treeResult counts the leaves of a tree. A task that does not wait for its children returns references to them.
type treeResult struct {
	Leaves   int
	Children []engine.Ref[treeResult]
	Ballast  []byte
}

var errWrong = errors.New("a wrong answer")

// doTree is the function of a task in a tree: it waits for its children in one of several ways, or returns references to
// them.
func (s *simulation) doTree(ctx context.Context, in treeOrder) (treeResult, error) {
	if in.Takes > 0 {
		timer := time.NewTimer(in.Takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return treeResult{}, context.Cause(ctx)
		}
	}
	if in.Seed%11 == 0 && engine.Attempt(ctx) == 1 {
		return treeResult{}, errPlanned
	}
	if in.Depth == 0 {
		g := treeResult{Leaves: 1}
		if in.Seed%16 == 0 {
			g.Ballast = make([]byte, ballast)
		}
		return g, nil
	}
	var children []engine.Ref[treeResult]
	for i := range 2 {
		children = append(children, s.tree.Submit(ctx, treeOrder{in.Seed*2 + i, in.Depth - 1, in.Takes}))
	}
	switch in.Seed % 5 {
	case 0:
		return treeResult{Children: children}, nil
	case 1:
		if _, err := engine.GetAll(ctx, children); err != nil {
			return treeResult{}, err
		}
	case 2:
		for _, err := range engine.Completed(ctx, children) {
			if err != nil {
				return treeResult{}, err
			}
		}
	case 3:
		<-children[1].Done(ctx)
	}
	var all treeResult
	for _, ref := range children {
		n, err := s.leavesOf(ctx, ref)
		if err != nil {
			return treeResult{}, err
		}
		all.Leaves += n
	}
	return all, nil
}

// leavesOf waits until a tree has ended, and returns how many leaves it has.
func (s *simulation) leavesOf(ctx context.Context, ref engine.Ref[treeResult]) (int, error) {
	g, err := ref.Get(ctx)
	n := g.Leaves
	for _, child := range g.Children {
		more, errChild := s.leavesOf(ctx, child)
		n += more
		err = errors.Join(err, errChild)
	}
	return n, err
}

// All agents take part in a large tree, however short its tasks are.
func TestALargeTreeRunsOnAllAgents(t *testing.T) {
	const depth, nodes = 17, 3
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
			c.run(t, enginetest.Config{Nodes: nodes, Registry: registry}, func(t *testing.T, ctx context.Context) {
				if n, err := tree.Submit(ctx, depth).Get(ctx); n != 1<<depth || err != nil {
					t.Errorf("got %d leaves and the error %v, want %d and none", n, err, 1<<depth)
				}
				took, all := 0, int64(0)
				ran.Range(func(node, n any) bool {
					t.Log(node, "ran", n.(*atomic.Int64).Load())
					took++
					all += n.(*atomic.Int64).Load()
					return true
				})
				if want := int64(1<<(depth+1) - 1); took != nodes || all != want {
					t.Errorf("%d nodes ran %d tasks, want %d and %d", took, all, nodes, want)
				}
			})
		})
	}
}

// An agent on which 256 tasks wait for children begins no other task, until some of these have ended.
func TestAnAgentLimitsItsWaitingTasks(t *testing.T) {
	const limit, parents = 256, 400
	registry := engine.NewRegistry()
	var goOn chan struct{} // of the bubble
	var waiting atomic.Int64
	child := engine.NewFunc("child", func(ctx context.Context, n int) (int, error) {
		<-goOn
		return n, nil
	}, engine.In(registry), engine.Resource("licence", 1))
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (int, error) {
		waiting.Add(1)
		return child.Submit(ctx, n).Get(ctx)
	}, engine.In(registry))
	cfg := enginetest.Config{Registry: registry, Resources: map[string]float64{"licence": 1}}
	enginetest.RunAlone(t, cfg, func(t *testing.T, ctx context.Context) {
		goOn = make(chan struct{})
		var refs []engine.Ref[int]
		for n := range parents {
			refs = append(refs, parent.Submit(ctx, n))
		}
		passes(time.Minute)
		if n := waiting.Load(); n < limit || n > limit+2 {
			t.Errorf("%d tasks wait, want %d, or one more in each of the two slots", n, limit)
		}
		close(goOn)
		_, err := engine.GetAll(ctx, refs)
		check(t, err)
		if n := waiting.Load(); n != parents {
			t.Errorf("%d tasks ran in the end, want %d", n, parents)
		}
	})
}

// An agent that dies while it runs a part of a tree costs time and no result: the tasks without a record run again, and
// submit their children again.
func TestATreeSurvivesTheDeathOfAgents(t *testing.T) {
	const depth = 9
	for _, after := range []int64{1, 100, 300, 500} {
		t.Run(fmt.Sprint("after ", after, " leaves"), func(t *testing.T) {
			var leaves atomic.Int64
			registry := engine.NewRegistry()
			var tree *engine.Func[int, int]
			tree = engine.NewFunc("tree", func(ctx context.Context, depth int) (int, error) {
				if depth == 0 {
					passes(20 * time.Millisecond)
					if n := leaves.Add(1); n == after || n == after+150 {
						t.Log(engine.NodeID(ctx), "dies after", n, "leaves")
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
			enginetest.RunAlone(t, enginetest.Config{Nodes: 3, Registry: registry}, func(t *testing.T, ctx context.Context) {
				if n, err := tree.Submit(ctx, depth).Get(ctx); n != 1<<depth || err != nil {
					t.Errorf("got %d leaves and the error %v, want %d and none", n, err, 1<<depth)
				}
				check(t, enginetest.Settle(ctx))
				if n := leaves.Load(); n <= 1<<depth {
					t.Errorf("%d leaves ran in all, want more than %d: some of them again", n, 1<<depth)
				}
			})
		})
	}
}

// The objects that a result refers to outlive the agent that made them.
func TestTheObjectsOfAResultOutliveItsAgent(t *testing.T) {
	type two struct{ Child, Own engine.Ref[[]byte] }
	registry := engine.NewRegistry()
	child := engine.NewFunc("child", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil }, engine.In(registry))
	var node atomic.Value
	parent := engine.NewFunc("parent", func(ctx context.Context, n int) (two, error) {
		node.Store(engine.NodeID(ctx))
		return two{child.Submit(ctx, n), engine.Put(ctx, make([]byte, n+1))}, nil
	}, engine.In(registry))
	enginetest.RunAlone(t, enginetest.Config{Nodes: 2, Registry: registry}, func(t *testing.T, ctx context.Context) {
		ref := parent.Submit(ctx, ballast)
		<-ref.Done(ctx)
		enginetest.Kill(ctx, node.Load().(string))
		passes(3 * time.Hour) // time enough for a janitor to remove what the dead agent has left
		p, err := ref.Get(ctx)
		check(t, err)
		c, err := p.Child.Get(ctx)
		check(t, err)
		o, err := p.Own.Get(ctx)
		check(t, err)
		if len(c) != ballast || len(o) != ballast+1 {
			t.Errorf("the child's result has %d bytes and the object %d, want %d and %d", len(c), len(o), ballast, ballast+1)
		}
	})
}
