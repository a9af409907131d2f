package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// filesRow measures the throughput when every message is synced to disk before it is acknowledged.
func filesRow() row {
	return row{
		name: "files", about: "as submit all, with streams in files and SyncAlways",
		open: func(ctx context.Context, sc scale) (*trial, error) {
			home, err := os.MkdirTemp("", "bench-")
			if err != nil {
				return nil, err
			}
			c, err := openFloorTrialIn(ctx, 1, filepath.Join(home, "ours"), filepath.Join(home, "floor"))
			if err != nil {
				return nil, errors.Join(err, os.RemoveAll(home))
			}
			t := c.trial(
				func(ctx context.Context) (sample, error) { return submitThenGetAll(ctx, sc.submits) },
				func(ctx context.Context) (sample, error) { return c.floor.measure(ctx, sc.synced) },
			)
			closeBoth := t.close
			t.close = func() error { return errors.Join(closeBoth(), os.RemoveAll(home)) }
			return t, nil
		},
		figures: []figure{
			{"rate", perSecond, reading{0, rate}, reading{}, "", aimed(atLeast(100_000))},
			{"rate", perSecond, reading{0, rate}, reading{1, rate}, "floor, one message a task", goal{}},
		},
	}
}
