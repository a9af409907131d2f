// Command poison is a named job with a task that kills its process, and others beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
)

var others = flag.Int("others", 6, "how many tasks are beside the poison")

var poison = engine.NewFunc("poison", func(context.Context, int) (int, error) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return 0, err
	}
	return 0, self.Kill()
})

var good = engine.NewFunc("good", func(_ context.Context, n int) (int, error) {
	timer := time.NewTimer(20 * time.Millisecond)
	<-timer.C
	return n, nil
})

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	lost := poison.Submit(ctx, 0)
	var refs []engine.Ref[int]
	for n := range *others {
		refs = append(refs, good.Submit(ctx, n))
	}
	if _, err := engine.GetAll(ctx, refs); err != nil {
		return err
	}
	_, err := lost.Get(ctx)
	var failure *task.Failure
	if !errors.As(err, &failure) || failure.Kind != task.KindLost {
		return fmt.Errorf("the poison: %w", err)
	}
	return nil
}
