// Command resources shows pattern 4 of Ray's users, "resources to limit concurrency": a task says which resources it
// occupies, and a node never runs more tasks than its resources allow.
//
// Memory limits how many tasks with a large memory footprint run at the same time. A custom resource stands for anything
// scarce, such as connections to a database.
package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// gauge counts the tasks that run now, and keeps the largest count.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) enter() {
	now := g.now.Add(1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	for range 1000 {
		runtime.Gosched() // lets other tasks run, if they may
	}
	g.now.Add(-1)
}

var connections, large gauge

// Query occupies one of the node's connections to a database, and Load half of its memory.
var (
	Query = engine.NewFunc("query", func(_ context.Context, n int) (int, error) { connections.enter(); return n, nil }, engine.Resource("db", 1))
	Load  = engine.NewFunc("load", func(_ context.Context, n int) (int, error) { large.enter(); return n, nil }, engine.Memory(2<<30))
)

func main() { tidemill.Main(run) }

func run(context.Context) error {
	ctx := context.Background()
	cluster, err := tidemill.Open(ctx, tidemill.Config{ // with Main, the flag -resources says the same
		NodeID: "small", Resources: map[string]float64{"cpu": 4, "memory": 4 << 30, "db": 1},
	})
	if err != nil {
		return err
	}
	return errors.Join(occupy(cluster.Context(ctx)), cluster.Close(ctx))
}

func occupy(ctx context.Context) error {
	var refs []engine.Ref[int]
	for n := range 40 {
		refs = append(refs, Query.Submit(ctx, n), Load.Submit(ctx, n))
	}
	if _, err := engine.GetAll(ctx, refs); err != nil {
		return err
	}
	fmt.Println("connections in use at the same time:", connections.most.Load())
	fmt.Println("at most two tasks of 2 GiB at the same time on a node of 4 GiB:", large.most.Load() <= 2)
	_, err := Query.Submit(ctx, 0, engine.Resource("dbs", 1)).Get(ctx)
	fmt.Println("a resource that no node has is an error:", errors.Is(err, engine.ErrInfeasible))
	return nil
}
