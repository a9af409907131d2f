package main

import (
	"context"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// Noop returns what it is given.
var Noop = engine.NewFunc("bench-noop", func(_ context.Context, n int) (int, error) { return n, nil })

// closeLimit bounds the closing of a cluster.
const closeLimit = 10 * time.Second

// closeCluster closes a cluster, in bounded time.
func closeCluster(c *tidemill.Cluster) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	return c.Close(ctx)
}

// inCluster makes a trial of a cluster alone.
func inCluster(ctx context.Context, cfg tidemill.Config, sides func(c *tidemill.Cluster) []side) (*trial, error) {
	c, err := tidemill.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &trial{sides: sides(c), close: func() error { return closeCluster(c) }}, nil
}
