// Command fetchmany shows anti-pattern 5 of Ray's users, "fetch too many at once": here it is an error, and the process
// does not run out of memory.
//
// GetAll knows the sizes before it fetches a value. If they exceed the budget (tidemill.Config.Budget), it returns
// ErrTooLarge, which names the total. Fetched one at a time and released, the same values need little memory.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Produce returns a large value.
var Produce = engine.NewFunc("produce", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil })

func main() { tidemill.Main(run) }

func run(context.Context) error {
	ctx := context.Background()
	cluster, err := tidemill.Open(ctx, tidemill.Config{Budget: 16 << 20, NodeID: "small"})
	if err != nil {
		return err
	}
	return errors.Join(fetch(cluster.Context(ctx)), cluster.Close(ctx))
}

func fetch(ctx context.Context) error {
	var refs []engine.Ref[[]byte]
	for range 20 {
		refs = append(refs, Produce.Submit(ctx, 1<<20))
	}
	_, err := engine.GetAll(ctx, refs)
	fmt.Println("20 MiB at once, with a budget of 16:", errors.Is(err, engine.ErrTooLarge))
	total := 0
	for ref, err := range engine.Completed(ctx, refs) {
		if err != nil {
			return err
		}
		b, err := ref.Get(ctx)
		if err != nil {
			return err
		}
		total += len(b)
		ref.Release()
	}
	fmt.Println("one by one:", total>>20, "MiB")
	return nil
}
