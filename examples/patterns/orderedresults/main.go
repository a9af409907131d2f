// Command orderedresults shows anti-pattern 4 of Ray's users, "process results in submission order": here the simple loop
// over Map is right, since Map and Completed yield results as they complete. The option InOrder restores the order of
// submission.
package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

var started = make(chan int, 100)

// Work is slow for input 0: that task ends when all 20 tasks have started.
var Work = engine.NewFunc("work", func(_ context.Context, n int) (int, error) {
	started <- n
	if n == 0 {
		for len(started) < 20 {
			select {
			case started <- <-started: // check again
			default:
			}
		}
	}
	return n, nil
})

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	position := 0 // of the slow task's result
	var order []int
	for v, err := range engine.Map(ctx, Work, slices.Values(numbers(20))) {
		if err != nil {
			return err
		}
		order = append(order, v)
		if v == 0 {
			position = len(order)
		}
	}
	fmt.Println("the slow task was submitted first, and its result came after most others:", position > 10)
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
	fmt.Println(done, "of 5 yielded as they completed")
	return nil
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
