package enginetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// settleWithin is how long a cluster may take to come to rest: leases that nobody renews have to end, and
// what is tried again has its backoffs.
const settleWithin = 10 * time.Minute

// Settle waits until nothing is left of what was submitted: no message in a queue, no batch held, no slot
// taken. It returns an error that says what is left if that takes too long.
func Settle(ctx context.Context) error {
	c := ctx.Value(clusterKey{}).(*cluster) //nolint:forcetypeassert // a context of Start
	until := time.Now().Add(settleWithin)
	for {
		left := errors.Join(c.queued(ctx), c.busy())
		if left == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("enginetest: not at rest after %s: %w", settleWithin, left)
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// queued returns an error if a queue has a message.
func (c *cluster) queued(ctx context.Context) error {
	table, err := c.broker.OpenTable(ctx, c.broker.Classes())
	if err != nil {
		return err
	}
	classes, err := table.All(ctx)
	if err != nil {
		return err
	}
	for _, row := range classes {
		class, level, _ := session.ParseClassKey(row.Key)
		queue, err := c.broker.OpenQueue(ctx, c.broker.Batches(string(class), string(level)))
		if err != nil {
			return err
		}
		for m, err := range queue.List(ctx) {
			if err != nil {
				return err
			}
			var b task.Batch
			_ = task.DecodeBatch(m.Data, &b)
			return fmt.Errorf("%s.%s has batch %d of %s with %d tasks", class, level, m.Sequence, b.Owner, len(b.Specs))
		}
	}
	return nil
}

// busy returns an error if an agent holds something.
func (c *cluster) busy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, n := range c.nodes {
		if !n.agent.Idle() {
			return fmt.Errorf("%s is busy", name)
		}
	}
	return nil
}
