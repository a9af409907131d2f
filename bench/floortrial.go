package main

import (
	"context"
	"errors"

	"github.com/tidemill/tidemill"
)

// A floorTrial is a cluster and a floor, each with a server of its own in this process.
type floorTrial struct {
	cluster *tidemill.Cluster
	floor   *floor
}

// openFloorTrial opens both, with streams in memory. The floor sends k tasks in each message.
func openFloorTrial(ctx context.Context, k int) (*floorTrial, error) {
	return openFloorTrialIn(ctx, k, "", "")
}

// openFloorTrialIn opens both, with streams in synced files in the two folders, or in memory if they are empty. The
// floor sends k tasks in each message.
func openFloorTrialIn(ctx context.Context, k int, ours, floors string) (*floorTrial, error) {
	c, err := tidemill.Open(ctx, tidemill.Config{Dir: ours})
	if err != nil {
		return nil, err
	}
	f, err := openFloor(ctx, k, floors)
	if err != nil {
		return nil, errors.Join(err, closeCluster(c))
	}
	return &floorTrial{cluster: c, floor: f}, nil
}

// trial returns the trial of the two rounds. The context of our round has the cluster's session.
func (c *floorTrial) trial(ours, floors func(ctx context.Context) (sample, error)) *trial {
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
