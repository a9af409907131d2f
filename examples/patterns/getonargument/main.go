// Command getonargument shows anti-pattern 13, "get on a task's arguments": it costs nothing here.
//
// Elsewhere a task that waits for a reference in its argument holds a worker while it waits, and enough of them hold
// all of them. Here a Ref anywhere in an input is a dependency: the task is dispatched when all are there, so that
// Get inside the task returns at once, and a thousand tasks that need a slow one hold no slot.
package main

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Slow is what all others need; Add needs it.
var (
	Slow = engine.NewFunc("slow", func(context.Context, engine.None) (int, error) {
		sum := 0
		for i := range 50_000_000 {
			sum += i & 1
		}
		return sum, nil
	})
	Add = engine.NewFunc("add", func(ctx context.Context, in Sum) (int, error) {
		base, err := in.Base.Get(ctx)
		return base + in.N, err
	})
)

// Sum refers to a result.
type Sum struct {
	Base engine.Ref[int]
	N    int
}

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	base := Slow.Submit(ctx, engine.None{})
	var refs []engine.Ref[int]
	for n := range 1000 {
		refs = append(refs, Add.Submit(ctx, Sum{base, n}))
	}
	other, err := Add.Submit(ctx, Sum{engine.Put(ctx, 1), 1}).Get(ctx) // a slot is free for it
	if err != nil {
		return err
	}
	all, err := engine.GetAll(ctx, refs)
	if err != nil {
		return err
	}
	fmt.Println("beside them:", other, "- and the last of a thousand:", all[999])
	return nil
}
