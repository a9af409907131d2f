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

// Open starts a whole cluster in this process, for programs that do not use Main.
func ExampleOpen() {
	ctx := context.Background()
	cluster, err := tidemill.Open(ctx, tidemill.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close(ctx)

	ctx = cluster.Context(ctx) // a context with the session
	fmt.Println(upper.Submit(ctx, "tide").Get(ctx))
	// Output: TIDE <nil>
}

// With Listen, other NATS clients can connect to the cluster at the address that URL returns.
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
