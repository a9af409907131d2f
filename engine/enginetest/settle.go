package enginetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// settleWithin is how long a cluster may take to come to rest: leases that nobody renews must end, and retries wait for
// their backoffs.
const settleWithin = 10 * time.Minute

// Settle waits until the cluster has nothing left to do: no queue has a message, and no agent has a batch or a slot in use.
// If that takes more than ten minutes, it returns an error that says what is left.
func Settle(ctx context.Context) error {
	c := of(ctx)
	until := time.Now().Add(settleWithin)
	for {
		left := errors.Join(c.queued(ctx), c.busy())
		if left == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("enginetest: the cluster is not at rest after %s: %w", settleWithin, left)
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

// queued returns an error that describes a message in a queue, if there is one.
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
			return fmt.Errorf("the queue of class %s, level %s, has batch %d of owner %s, with %d tasks", class, level, m.Sequence, b.Owner, len(b.Specs))
		}
	}
	return nil
}

// busy returns an error that names an agent with a batch or a slot in use, if there is one.
func (c *cluster) busy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, n := range c.nodes {
		if !n.agent.Idle() {
			return fmt.Errorf("the agent of %s is busy", name)
		}
	}
	return nil
}
