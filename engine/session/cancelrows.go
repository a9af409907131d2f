package session

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// CancelsAge is how long the rows of the table of cancels are kept. A cancelled task that an agent pulls later than that
// runs in vain.
const CancelsAge = 24 * time.Hour

// Cancels is a row in the table of cancels: tasks of the owner that the key begins with. Written by session, read by
// nodeagent.
type Cancels struct {
	Asked task.Ranges `json:"asked,omitempty"` // somebody asked for their cancellation
	Late  task.Ranges `json:"late,omitempty"`  // their deadlines have passed
}

// Failures of tasks that are ended from outside. An agent knows that a task is cancelled, and not why.
var (
	AskedFailure     = task.Failure{Kind: task.KindCancelled, Message: "at its caller's request"}
	CancelledFailure = task.Failure{Kind: task.KindCancelled, Message: "by its owner"}
	EndedFailure     = task.Failure{Kind: task.KindCancelled, Message: "the session that submitted it has ended"}
	LateFailure      = task.Failure{Kind: task.KindTimeout, Message: "no outcome within its deadline"}
)

// cancelRows are the tasks that agents must not run: the keeper writes them to the table of cancels.
type cancelRows struct {
	table  *queues.Table // fixed once the session is connected
	keeper wait.Signal   // set when there is something to write

	mu          sync.Mutex // taken after Session.mu
	asked, late []uint64   // guarded by mu; numbers of tasks

	unwritten Cancels // only under keeper.lock
	written   uint64  // rows; only under keeper.lock
}

// add adds a task that its owner ends, if an agent may run it.
func (r *cancelRows) add(c *graph.Command) {
	switch c.Why {
	case graph.Asked:
		r.addNumbers([]uint64{c.Task}, nil)
	case graph.TooLate:
		r.addNumbers(nil, []uint64{c.Task})
	case graph.Exhausted, graph.LostTooMuch, graph.DependencyFailed: // nothing of it is under way
	}
}

func (r *cancelRows) addNumbers(asked, late []uint64) {
	if len(asked)+len(late) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, asked...)
	r.late = append(r.late, late...)
	r.keeper.Set()
}

func (r *cancelRows) take() (asked, late []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, late, r.asked, r.late = r.asked, r.late, nil, nil
	return asked, late
}

// maxRanges bounds the ranges of one row.
const maxRanges = 4096

// flush writes what waits, under keys that begin with the owner and run, the number of the owner's lease. What could not be
// written waits on.
func (r *cancelRows) flush(ctx context.Context, owner string, run uint64) error {
	asked, late := r.take()
	rest := &r.unwritten
	rest.Asked, rest.Late = rest.Asked.With(task.RangesOf(asked)), rest.Late.With(task.RangesOf(late))
	for len(rest.Asked)+len(rest.Late) > 0 {
		row := Cancels{rest.Asked[:min(len(rest.Asked), maxRanges)], rest.Late[:min(len(rest.Late), maxRanges)]}
		value, err := json.Marshal(row)
		if err == nil {
			r.written++
			_, err = r.table.Put(ctx, fmt.Sprintf("%s.%d-%d", owner, run, r.written), value)
		}
		if err != nil {
			return fmt.Errorf("session: tell agents what is cancelled: %w", err)
		}
		rest.Asked, rest.Late = rest.Asked[len(row.Asked):], rest.Late[len(row.Late):]
	}
	*rest = Cancels{} // not to retain what was written
	return nil
}
