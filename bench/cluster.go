package main

import (
	"context"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Noop returns its input.
var Noop = engine.NewFunc("bench-noop", func(_ context.Context, n int) (int, error) { return n, nil })

// closeLimit is how long closing a cluster may take.
const closeLimit = 10 * time.Second

// closeCluster closes a cluster, within closeLimit.
func closeCluster(c *tidemill.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	return c.Close(ctx)
}

// inCluster opens a cluster and returns the trial of the sides that use it.
func inCluster(ctx context.Context, cfg tidemill.Config, sides func(c *tidemill.Cluster) []side) (*trial, error) {
	c, err := tidemill.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &trial{sides: sides(c), close: func() error { return closeCluster(c) }}, nil
}
