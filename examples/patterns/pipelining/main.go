// Command pipelining shows pattern 7 of Ray's users, "pipelining for throughput": agents pull the next tasks while they
// compute.
//
// In Ray, a program connects its stages by a queue so that fetching and computing overlap. Here an agent pulls tasks for the
// next few milliseconds ahead and fetches their inputs. Stages overlap too, since a task is dispatched when its own input
// exists, not when the stage before has ended.
package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Decode, Clean and Count are three stages.
var (
	Decode = engine.NewFunc("decode", func(_ context.Context, n int) (string, error) {
		return strings.Repeat(fmt.Sprint("word", n, " "), 20_000), nil // over 64 KiB, so it is passed by reference
	})
	Clean = engine.NewFunc("clean", func(_ context.Context, text string) (string, error) { return strings.ToUpper(text), nil })
	Count = engine.NewFunc("count", func(_ context.Context, text string) (int, error) { return strings.Count(text, "WORD"), nil })
)

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	var counts []engine.Ref[int]
	for n := range 50 {
		counts = append(counts, Count.SubmitRef(ctx, Clean.SubmitRef(ctx, Decode.Submit(ctx, n))))
	}
	total := 0
	for ref, err := range engine.Completed(ctx, counts) {
		if err != nil {
			return err
		}
		n, err := ref.Get(ctx)
		if err != nil {
			return err
		}
		total += n
	}
	fmt.Println(total, "words counted in three stages; the driver received none of the texts")
	return nil
}
