// Command outofband shows anti-pattern 11 of Ray's users, "references serialised out of band": here it cannot happen by
// accident.
//
// If a reference leaves the program in a way that the engine does not see, its value is either lost or kept forever. So
// every encoder refuses a Ref. Export is the explicit way: it stores a copy with a time to live.
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
	fmt.Println("printing a Ref does not identify its value:", ref)
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
