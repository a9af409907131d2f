package main

import (
	"context"
	"errors"

	"github.com/tidemill/tidemill"
)

// A contest is a cluster and a floor, each with a server of its own in this process.
type contest struct {
	cluster *tidemill.Cluster
	floor   *floor
}

// openContest opens both, in memory; the floor sends k tasks a message.
func openContest(ctx context.Context, k int) (*contest, error) { return openContestIn(ctx, k, "", "") }

// openContestIn opens both, in synced files in folders of their own; the floor sends k tasks a message.
func openContestIn(ctx context.Context, k int, ours, floors string) (*contest, error) {
	c, err := tidemill.Open(ctx, tidemill.Config{Dir: ours})
	if err != nil {
		return nil, err
	}
	f, err := openFloor(ctx, k, floors)
	if err != nil {
		return nil, errors.Join(err, closeCluster(c))
	}
	return &contest{cluster: c, floor: f}, nil
}

// trial makes the two rounds a trial: ours with the cluster's session in its context, and the floor's.
func (c *contest) trial(ours, floors func(ctx context.Context) (sample, error)) *trial {
	return &trial{
		sides: []side{
			{"tidemill", func(ctx context.Context) (sample, error) { return ours(c.cluster.Context(ctx)) }},
			{"floor", func(ctx context.Context) (sample, error) {
				if err := c.floor.tidy(ctx); err != nil {
					return nil, err
				}
				return floors(ctx)
			}},
		},
		close: func() error {
			c.floor.close()
			return closeCluster(c.cluster)
		},
	}
}
