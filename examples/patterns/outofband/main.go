// Command outofband shows anti-pattern 11, "references serialised out of band": it cannot happen by accident here.
//
// A reference that travels in a way that the engine does not see keeps nothing alive, or everything for ever. So every
// encoding of a Ref refuses; Export is the deliberate way out: a copy with a time to live.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	ref := engine.Put(ctx, "a value")
	_, err := json.Marshal(map[string]any{"ref": ref})
	fmt.Println("JSON refuses:", errors.Is(err, engine.ErrOutOfBand))
	fmt.Println("a print tells nothing:", ref)
	token, err := ref.Export(ctx, time.Hour)
	if err != nil {
		return err
	}
	ref.Release()
	again, err := engine.Import[string](ctx, token)
	if err != nil {
		return err
	}
	v, err := again.Get(ctx)
	fmt.Println("exported:", v)
	return err
}
