// Command getonargument shows anti-pattern 13 of Ray's users, "get on a task's arguments": here it costs nothing.
//
// In Ray, a task that waits for a reference inside its argument occupies a worker, and enough such tasks occupy all
// workers. Here a Ref anywhere in an input is a dependency: the task is dispatched when all values exist. Get inside the
// task does not wait, and a thousand tasks that need a slow one occupy no CPU.
package main

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Slow takes long; Add needs its result.
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

// Sum is the input of Add. It refers to the result of another task.
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
	other, err := Add.Submit(ctx, Sum{engine.Put(ctx, 1), 1}).Get(ctx) // a CPU is free for it
	if err != nil {
		return err
	}
	all, err := engine.GetAll(ctx, refs)
	if err != nil {
		return err
	}
	fmt.Println("a task that does not need the slow one:", other, "- the last of a thousand that do:", all[999])
	return nil
}
