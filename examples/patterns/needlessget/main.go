// Command needlessget shows anti-pattern 3 of Ray's users, "get needlessly": pass the Ref of a result, not the result.
//
// A driver that gets a result only to pass it on moves it to itself and back. A Ref in an input is a dependency: a large
// value moves only to the task that needs it, and a small one is sent with messages that are sent anyway.
package main

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Rollout returns a large value; Reduce takes Refs to many of them.
var (
	Rollout = engine.NewFunc("rollout", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil })
	Reduce  = engine.NewFunc("reduce", func(ctx context.Context, all []engine.Ref[[]byte]) (int, error) {
		total := 0
		for _, r := range all {
			b, err := r.Get(ctx) // does not wait: the value came with the input
			if err != nil {
				return 0, err
			}
			total += len(b)
		}
		return total, nil
	})
)

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	var all []engine.Ref[[]byte]
	for range 20 {
		all = append(all, Rollout.Submit(ctx, 1<<20))
	}
	total, err := Reduce.Submit(ctx, all).Get(ctx)
	if err != nil {
		return err
	}
	fmt.Println(total>>20, "MiB reduced; the driver received one number")
	return nil
}
