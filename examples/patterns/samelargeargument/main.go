// Command samelargeargument shows anti-pattern 8 of Ray's users, "pass the same large argument by value repeatedly": here it
// needs no more memory, since equal bytes are stored once.
//
// Put saves time all the same: without it, each call compares the bytes with those in the store.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Look returns one byte of a large argument.
var Look = engine.NewFunc("look", func(_ context.Context, q Question) (byte, error) { return q.Model[q.At], nil })

// Question is the input of Look, with the large argument in a field, by value.
type Question struct {
	Model []byte
	At    int
}

// Peek has the large argument as its whole input.
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
		refs = append(refs, Peek.Submit(ctx, model)) // by value in each call
	}
	if _, err := engine.GetAll(ctx, refs); err != nil {
		return err
	}
	if _, err := Look.Submit(ctx, Question{model, 7}).Get(ctx); err != nil {
		return err
	}
	stats := cluster.Objects()
	fmt.Println("100 calls with 8 MiB each, fewer than 10 copies stored:", stats.Puts-stats.Shared < 10)
	return nil
}
