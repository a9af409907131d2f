package directory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// Row is the agent's own row in the table of nodes. It belongs to one goroutine.
type Row struct {
	table    *queues.Table
	node     string // the node's ID, which is the row's key
	instance string // random; distinguishes this agent from others with the same node ID
	beat     uint64 // counts writes
	revision uint64 // of the row as last written; 0 = there is none
}

// Errors of rows.
var (
	// ErrNodeTaken says that another agent runs under the same node ID. The error names the ID.
	ErrNodeTaken = errors.New("directory: another agent runs under this node ID")
	// ErrReplaced says that another agent has taken over the row. The error names the node ID.
	ErrReplaced = errors.New("directory: another agent has taken over this node ID")
)

// Announce writes the row of a node that starts. If there is a row already, it is watched for LifeTime: if its agent
// writes it again, the error is ErrNodeTaken. A row from another boot of an embedded server is overwritten at once.
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
		if err == nil && mayBeAlive(found, node.Boot) && time.Now().Before(until) {
			if seen != 0 && seen != found.Revision {
				return nil, fmt.Errorf("%w: %s", ErrNodeTaken, node.ID)
			}
			seen = found.Revision
			if err := wait.Pause(ctx, time.Second); err != nil {
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

// mayBeAlive reports whether the row can be that of an agent that still runs: a valid row from this boot of the server.
func mayBeAlive(row queues.Row, boot string) bool {
	var current Node
	return json.Unmarshal(row.Value, &current) == nil && current.ID == row.Key && current.Boot == boot
}

// Update writes the row again, as the node's sign of life and with what has changed of it. A row that was removed because
// it had not been written for long is created again. The error is ErrReplaced if the row is another agent's.
func (r *Row) Update(ctx context.Context, node Node) error {
	err := r.write(ctx, node)
	if !errors.Is(err, queues.ErrRevision) {
		return err
	}
	if err := r.adoptOwnRow(ctx); err != nil {
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

// adoptOwnRow is called when a write was refused because the row has another revision than r knows. If the row is the
// agent's own, from a write whose answer was lost, r takes its revision; if there is no row any more, the next write
// creates one.
func (r *Row) adoptOwnRow(ctx context.Context) error {
	found, err := r.table.Get(ctx, r.node)
	if errors.Is(err, queues.ErrNoRow) {
		r.revision = 0
		return nil
	}
	var current Node
	if err == nil && (json.Unmarshal(found.Value, &current) != nil || current.Instance != r.instance) {
		err = fmt.Errorf("%w: %s", ErrReplaced, r.node)
	}
	if err == nil {
		r.revision = found.Revision
	}
	return err
}

// Withdraw removes the row, so that sessions no longer count on the node.
func (r *Row) Withdraw(ctx context.Context) error { return r.table.Delete(ctx, r.node) }
