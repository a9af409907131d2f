// Command resources shows pattern 4, "resources to limit what runs at a time": a task says what it takes, and a node
// is never overdrawn.
//
// Memory keeps tasks that need much of it from running side by side until the machine has none; a resource of a
// name of one's own stands for whatever there is few of, such as connections to a database.
package main

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// gauge notes how many were inside at a time.
type gauge struct{ now, most atomic.Int64 }

func (g *gauge) enter() {
	now := g.now.Add(1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	for range 1000 {
		runtime.Gosched() // others may come in now
	}
	g.now.Add(-1)
}

var connections, large gauge

// Query takes one of the node's connections to a database, and Load half of its memory.
var (
	Query = engine.NewFunc("query", func(_ context.Context, n int) (int, error) { connections.enter(); return n, nil }, engine.Resource("db", 1))
	Load  = engine.NewFunc("load", func(_ context.Context, n int) (int, error) { large.enter(); return n, nil }, engine.Memory(2<<30))
)

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	var refs []engine.Ref[int]
	for n := range 40 {
		refs = append(refs, Query.Submit(ctx, n), Load.Submit(ctx, n))
	}
	if _, err := engine.GetAll(ctx, refs); err != nil {
		return err
	}
	fmt.Println("connections in use at a time:", connections.most.Load())
	fmt.Println("tasks of 2 GiB at a time, on a node of 4 GiB: two or fewer:", large.most.Load() <= 2)
	_, err := Query.Submit(ctx, 0, engine.Resource("dbs", 1)).Get(ctx)
	fmt.Println("a name that no node has:", err != nil)
	return nil
}
