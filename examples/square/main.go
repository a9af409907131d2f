// Command square is the smallest Tidemill program: one function and one task.
package main

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Square is registered as "square": the name identifies it in the cluster, the Go identifier does not.
var Square = engine.NewFunc("square", func(_ context.Context, n int) (int, error) {
	return n * n, nil
})

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	v, err := Square.Submit(ctx, 7).Get(ctx)
	if err != nil {
		return err
	}
	fmt.Println(v) // 49
	return nil
}
