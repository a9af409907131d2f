// Command limitpending shows pattern 3 of Ray's users, "wait to limit pending tasks": here it is built in.
//
// In Ray, a driver that submits without limit fills the memory, so it must count its pending tasks and wait. Here Map
// limits the tasks in flight, and Submit waits at the limit that Pending sets. Wait and Completed are there for
// everything else.
package main

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Step is a step of some computation.
var Step = engine.NewFunc("step", func(_ context.Context, n int) (int, error) { return n * n, nil })

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	if err := byMap(ctx); err != nil {
		return err
	}
	return byPending(ctx)
}

// byMap maps over a hundred thousand inputs. They are never all in memory: Map reads inputs as results are yielded.
func byMap(ctx context.Context) error {
	var read, yielded, most atomic.Int64 // inputs read, results yielded, and the largest difference
	inputs := func(yield func(int) bool) {
		for n := range 100_000 {
			most.Store(max(most.Load(), read.Add(1)-yielded.Load()))
			if !yield(n) {
				return
			}
		}
	}
	sum := 0
	for v, err := range engine.Map(ctx, Step, inputs) {
		if err != nil {
			return err
		}
		yielded.Add(1)
		sum += v
	}
	fmt.Println("Map: sum", sum, "- all tasks in flight at once:", most.Load() == 100_000)
	return nil
}

// byPending submits in a loop. Submit waits at the limit, so the loop need not count.
func byPending(ctx context.Context) error {
	var refs []engine.Ref[int]
	for n := range 1000 {
		refs = append(refs, Step.Submit(ctx, n, engine.Pending(100)))
	}
	ready, pending, err := engine.Wait(ctx, refs, 900)
	if err != nil {
		return err
	}
	fmt.Println("Pending(100): at most 100 tasks pending:", len(pending) <= 100, "- at least 900 ready:", len(ready) >= 900)
	return nil
}
