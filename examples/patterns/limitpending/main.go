// Command limitpending shows pattern 3, "wait to limit pending tasks": it is there by construction.
//
// A driver that submits without a bound fills memory in other systems, so that one counts what is open and waits.
// Here Map has a bounded number under way; Submit waits by itself at the bound that Pending gives; and Wait and
// Completed are there for everything else.
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

// byMap goes through a hundred thousand inputs that are never all in memory: inputs are asked for as results come.
func byMap(ctx context.Context) error {
	var asked, yielded, widest atomic.Int64
	inputs := func(yield func(int) bool) {
		for n := range 100_000 {
			widest.Store(max(widest.Load(), asked.Add(1)-yielded.Load()))
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
	fmt.Println("Map: sum", sum, "- all were under way at once:", widest.Load() == 100_000)
	return nil
}

// byPending submits by itself, and waits at a bound: the loop needs no counting.
func byPending(ctx context.Context) error {
	var refs []engine.Ref[int]
	for n := range 1000 {
		refs = append(refs, Step.Submit(ctx, n, engine.Pending(100)))
	}
	ready, pending, err := engine.Wait(ctx, refs, 900)
	if err != nil {
		return err
	}
	fmt.Println("Pending(100): at the end at most 100 were open:", len(pending) <= 100, "- and ready are at least", len(ready)/900*900)
	return nil
}
