package tidemill_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

var upper = engine.NewFunc("upper", func(_ context.Context, s string) (string, error) {
	return strings.ToUpper(s), nil
})

// A whole cluster in this process, without Main.
func ExampleOpen() {
	ctx := context.Background()
	cluster, err := tidemill.Open(ctx, tidemill.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close(ctx)

	ctx = cluster.Context(ctx) // carries the session
	fmt.Println(upper.Submit(ctx, "tide").Get(ctx))
	// Output: TIDE <nil>
}

// The cluster lets other NATS clients in, at an address that URL tells.
func ExampleCluster_URL() {
	ctx := context.Background()
	cluster, err := tidemill.Open(ctx, tidemill.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close(ctx)

	fmt.Println(strings.HasPrefix(cluster.URL(), "nats://127.0.0.1:"))
	// Output: true
}
