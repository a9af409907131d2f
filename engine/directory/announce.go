package directory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/queues"
)

// Row is the agent's own row in the table of nodes. It belongs to one goroutine.
type Row struct {
	table    *queues.Table
	node     string
	instance string
	beat     uint64
	revision uint64
}

// Errors of rows.
var (
	// ErrNodeTaken says that another agent lives under the same node ID.
	ErrNodeTaken = errors.New("directory: the node ID is taken")
	// ErrReplaced says that another agent has taken the row.
	ErrReplaced = errors.New("directory: the row is another's")
)

// Announce writes the row of a node that begins. A row that is there already is watched for a while: if
// its agent writes it, the error is ErrNodeTaken. One of another boot of an embedded server is nobody's.
func Announce(ctx context.Context, b *queues.Broker, node Node) (*Row, error) {
	table, err := b.OpenTable(ctx, b.Nodes())
	if err != nil {
		return nil, err
	}
	r := &Row{table: table, node: node.ID, instance: rand.Text()}
	seen, until := uint64(0), time.Now().Add(LifeTime)
	for {
		found, err := table.Get(ctx, node.ID)
		if err != nil && !errors.Is(err, queues.ErrNoRow) {
			return nil, err
		}
		if err == nil && lives(found, node.Boot) && time.Now().Before(until) {
			if seen != 0 && seen != found.Revision {
				return nil, fmt.Errorf("%w: %s", ErrNodeTaken, node.ID)
			}
			seen = found.Revision
			if err := pause(ctx, time.Second); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrNodeTaken, node.ID, err)
			}
			continue
		}
		r.revision = found.Revision
		if err = r.write(ctx, node); err == nil || !errors.Is(err, queues.ErrRevision) {
			return r, err
		}
	}
}

// lives reports whether the row may be of an agent that lives.
func lives(row queues.Row, boot string) bool {
	var there Node
	return json.Unmarshal(row.Value, &there) == nil && there.ID == row.Key && there.Boot == boot
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Update writes the row anew: the node lives, and may have other functions now. A row that somebody has
// removed, since it was silent for long, is made again.
func (r *Row) Update(ctx context.Context, node Node) error {
	err := r.write(ctx, node)
	if !errors.Is(err, queues.ErrRevision) {
		return err
	}
	if err := r.recognise(ctx); err != nil {
		return err
	}
	if err := r.write(ctx, node); !errors.Is(err, queues.ErrRevision) {
		return err
	}
	return fmt.Errorf("%w: %s", ErrReplaced, r.node)
}

func (r *Row) write(ctx context.Context, node Node) error {
	r.beat++
	node.Instance, node.Beat = r.instance, r.beat
	value, err := json.Marshal(node)
	if err != nil {
		return fmt.Errorf("directory: announce %s: %w", node.ID, err)
	}
	var revision uint64
	if r.revision == 0 {
		revision, err = r.table.Create(ctx, r.node, value)
	} else {
		revision, err = r.table.Update(ctx, r.node, value, r.revision)
	}
	if err == nil {
		r.revision = revision
	}
	return err
}

// recognise looks whether the row that stood in the way is the agent's own, of a write of which no answer
// came in time; or whether there is none any more.
func (r *Row) recognise(ctx context.Context) error {
	found, err := r.table.Get(ctx, r.node)
	if errors.Is(err, queues.ErrNoRow) {
		r.revision = 0
		return nil
	}
	var there Node
	if err == nil && (json.Unmarshal(found.Value, &there) != nil || there.Instance != r.instance) {
		err = fmt.Errorf("%w: %s", ErrReplaced, r.node)
	}
	if err == nil {
		r.revision = found.Revision
	}
	return err
}

// Withdraw removes the row: the node takes nothing more.
func (r *Row) Withdraw(ctx context.Context) error { return r.table.Delete(ctx, r.node) }
