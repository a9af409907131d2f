// Command orderedresults shows anti-pattern 4, "process results in submission order": the naive loop over Map is fine
// here, since Map and Completed yield as things complete.
//
// InOrder is there for who needs the order, and says so.
package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

var started = make(chan int, 100)

// Work is slow for its first input: it ends when all others have begun.
var Work = engine.NewFunc("work", func(_ context.Context, n int) (int, error) {
	started <- n
	if n == 0 {
		for len(started) < 20 {
			select {
			case started <- <-started: // look again
			default:
			}
		}
	}
	return n, nil
})

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	place := 0
	var order []int
	for v, err := range engine.Map(ctx, Work, slices.Values(numbers(20))) {
		if err != nil {
			return err
		}
		order = append(order, v)
		if v == 0 {
			place = len(order)
		}
	}
	fmt.Println("the slow one was submitted first, and others were not kept waiting:", place > 10)
	var refs []engine.Ref[int]
	for n := range 5 {
		refs = append(refs, Work.Submit(ctx, n+1))
	}
	done := 0
	for _, err := range engine.Completed(ctx, refs) {
		if err != nil {
			return err
		}
		done++
	}
	fmt.Println(done, "of 5, each as it was done")
	return nil
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
