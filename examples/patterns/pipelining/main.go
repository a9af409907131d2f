// Command pipelining shows pattern 7, "pipelining for throughput": agents draw the next tasks while they compute.
//
// In other systems one writes two stages with a queue between, so that fetching and computing overlap. Here an agent
// holds the next few milliseconds of work, its inputs already brought; stages overlap since each task is dispatched
// when its own input exists, and not when a stage is through.
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
		return strings.Repeat(fmt.Sprint("word", n, " "), 20_000), nil // over 64 KiB: it goes by reference
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
	fmt.Println(total, "words through three stages; the driver moved none of the texts")
	return nil
}
