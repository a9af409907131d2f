// Command needlessget shows anti-pattern 3, "get needlessly": the naive program is fine here, as long as it passes
// the Ref.
//
// Who gets a result only to pass it on moves it to the driver and back. A Ref in an input is a dependency: the value
// goes from where it is to where it is needed, and small ones travel with the messages that are sent anyway.
package main

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Rollout makes something large; Reduce needs only to refer to it.
var (
	Rollout = engine.NewFunc("rollout", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil })
	Reduce  = engine.NewFunc("reduce", func(ctx context.Context, all []engine.Ref[[]byte]) (int, error) {
		total := 0
		for _, r := range all {
			b, err := r.Get(ctx) // it is here already: this returns at once
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
	fmt.Println(total>>20, "MiB reduced; what came to the driver is one number")
	return nil
}
