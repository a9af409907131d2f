package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/queues"
)

// A named job goes through incarnations. The runs of one share an owner's name, and so a log, until the job ends; nobody
// reads what then still comes to that log.

// incarnation is the row of a job in the table of jobs.
type incarnation struct {
	Number uint64 `json:"incarnation"`

	revision uint64 // of the row; 0 if there is none
}

// present returns a job's present incarnation, whose number is 0 if there never was one.
func present(ctx context.Context, jobs *queues.Table, job string) (now incarnation, err error) {
	row, err := jobs.Get(ctx, job)
	if errors.Is(err, queues.ErrNoRow) {
		return now, nil
	}
	if err == nil {
		err = json.Unmarshal(row.Value, &now)
	}
	now.revision = row.Revision
	return now, err
}

// next makes the next incarnation the present one, unless somebody was faster.
func (i incarnation) next(ctx context.Context, jobs *queues.Table, job string) error {
	value, err := json.Marshal(incarnation{Number: i.Number + 1})
	if err != nil {
		return err
	}
	if i.revision == 0 {
		_, err = jobs.Create(ctx, job, value)
	} else {
		_, err = jobs.Update(ctx, job, value, i.revision)
	}
	if errors.Is(err, queues.ErrRevision) {
		return nil
	}
	return err
}

func (i incarnation) owner(job string) string { return job + "-" + strconv.FormatUint(i.Number, 10) }

// Incarnation returns the owner's name of a job's present incarnation, from the table of jobs.
func Incarnation(ctx context.Context, jobs *queues.Table, job string) (owner string, err error) {
	now, err := present(ctx, jobs, job)
	return now.owner(job), err
}

// takeJob takes the lease of the job's present incarnation, or of a new one if the last has ended.
func takeJob(ctx context.Context, b *queues.Broker, sessions *queues.Table, as lease.Row) (owner string, l *lease.Lease, err error) {
	jobs, err := b.OpenTable(ctx, b.Jobs())
	if err != nil {
		return "", nil, err
	}
	for {
		now, err := present(ctx, jobs, as.Job)
		if err != nil {
			return "", nil, fmt.Errorf("job %s: %w", as.Job, err)
		}
		if now.Number > 0 {
			owner = now.owner(as.Job)
			l, err = lease.Take(ctx, sessions, owner, as)
			if !errors.Is(err, lease.ErrEnded) {
				return owner, l, err
			}
		}
		if err := now.next(ctx, jobs, as.Job); err != nil {
			return "", nil, fmt.Errorf("job %s: %w", as.Job, err)
		}
	}
}
