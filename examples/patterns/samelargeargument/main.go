// Command samelargeargument shows anti-pattern 8, "pass the same large argument by value again and again": the naive
// program is fine here, since equal bytes are stored once.
//
// What is saved by Put is finding that out: a pass over the bytes for each call.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Look looks at one byte of something large.
var Look = engine.NewFunc("look", func(_ context.Context, q Question) (byte, error) { return q.Model[q.At], nil })

// Question has the large argument in a field, by value.
type Question struct {
	Model []byte
	At    int
}

// Peek has it as the whole input.
var Peek = engine.NewFunc("peek", func(_ context.Context, model []byte) (int, error) { return len(model), nil })

func main() { tidemill.Main(run) }

func run(context.Context) error {
	ctx := context.Background()
	cluster, err := tidemill.Open(ctx, tidemill.Config{NodeID: "one"})
	if err != nil {
		return err
	}
	return errors.Join(ask(cluster.Context(ctx), cluster), cluster.Close(ctx))
}

func ask(ctx context.Context, cluster *tidemill.Cluster) error {
	model := make([]byte, 8<<20)
	var refs []engine.Ref[int]
	for range 100 {
		refs = append(refs, Peek.Submit(ctx, model)) // by value, and again, and again
	}
	if _, err := engine.GetAll(ctx, refs); err != nil {
		return err
	}
	if _, err := Look.Submit(ctx, Question{model, 7}).Get(ctx); err != nil {
		return err
	}
	stats := cluster.Objects()
	fmt.Println("100 calls with 8 MiB each: few copies were stored:", stats.Puts-stats.Shared < 10)
	return nil
}
