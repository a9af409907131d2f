package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/queues"
)

// Duration is how long a lease is its holder's without a renewal. The holder counts from before it asks
// for one, by its own monotonic clock; others from when they have seen it. So it has stopped before
// another can begin.
const Duration = 15 * time.Second

// RenewEvery leaves time for two renewals that fail.
const RenewEvery = Duration / 3

// Row is a session's row in the table of sessions: who holds it, and what may be destroyed. Written by
// session, read by nodeagent (janitor, claim).
type Row struct {
	Holder  string        `json:"holder,omitempty"`  // program, process and host, and something random; "" = nobody
	Boot    string        `json:"boot,omitempty"`    // of the embedded server under which it was taken; "" = of no such
	Run     uint64        `json:"run"`               // how often it was taken
	Renewal uint64        `json:"renewal"`           // counts renewals, so that no two rows are equal
	Scope   string        `json:"scope,omitempty"`   // of its objects, if it is not the row's key
	Job     string        `json:"job,omitempty"`     // "" = nobody will go on with it once its lease is gone
	TTL     time.Duration `json:"ttl,omitempty"`     // of a named job that nobody runs
	Trimmed uint64        `json:"trimmed,omitempty"` // the log is read up to and with this sequence, by all who will read it
	Created time.Time     `json:"created,omitzero"`  // of the stream that Trimmed speaks of
	Ended   bool          `json:"ended,omitempty"`   // nothing of it is wanted any more
}

// Errors of leases.
var (
	// ErrHeld says that somebody else holds the lease. The error names the holder.
	ErrHeld = errors.New("somebody else holds it")
	// ErrLost says that somebody else has taken over.
	ErrLost = errors.New("the lease is lost")
	// ErrEnded says that the row is of something that has ended: nobody takes it any more.
	ErrEnded = errors.New("it has ended")
)

// Lease is a row of a table that one holder keeps by renewing it. It belongs to one goroutine.
type Lease struct {
	table    *queues.Table
	key      string
	row      Row
	revision uint64
	until    time.Time // monotonic
}

// Take makes the row the caller's, with its Holder, Boot, Job and TTL. One that was taken under
// another boot of an embedded server is nobody's. Any other is watched for as long as a lease lasts: if
// its holder renews it, the error is ErrHeld.
func Take(ctx context.Context, table *queues.Table, key string, as Row) (*Lease, error) {
	w := &watch{}
	for {
		l, err := try(ctx, table, key, as, w)
		if !errors.Is(err, errWatching) {
			return l, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// Try is Take without the watching: what somebody may hold is ErrHeld.
func Try(ctx context.Context, table *queues.Table, key string, as Row) (*Lease, error) {
	l, err := try(ctx, table, key, as, &watch{})
	if errors.Is(err, errWatching) {
		err = ErrHeld
	}
	return l, err
}

// watch is what somebody who wants a lease has seen of its holder.
type watch struct {
	revision uint64
	until    time.Time
}

var errWatching = errors.New("lease: it may be held; watching")

// holds reports whether the holder may live; it is ErrHeld if it does for sure.
func (w *watch) holds(there Row, revision uint64) error {
	switch now := time.Now(); {
	case w.revision == 0:
		w.revision, w.until = revision, now.Add(Duration+time.Second)
		return errWatching
	case w.revision != revision:
		return fmt.Errorf("%w: %s", ErrHeld, there.Holder)
	case now.Before(w.until):
		return errWatching
	}
	return nil
}

// try takes the lease if nobody holds it.
func try(ctx context.Context, table *queues.Table, key string, as Row, w *watch) (*Lease, error) {
	l := &Lease{table: table, key: key, row: as}
	l.row.Run = 1
	found, err := table.Get(ctx, key)
	if err != nil && !errors.Is(err, queues.ErrNoRow) {
		return nil, err
	}
	if err == nil {
		var there Row
		if err := json.Unmarshal(found.Value, &there); err != nil {
			return nil, fmt.Errorf("lease: row %s: %w", key, err)
		}
		if there.Ended {
			return nil, ErrEnded
		}
		if there.Holder != "" && there.Holder != as.Holder && there.Boot == as.Boot {
			if err := w.holds(there, found.Revision); err != nil {
				return nil, err
			}
		}
		l.row.Run, l.row.Trimmed, l.row.Created = there.Run+1, there.Trimmed, there.Created
	}
	err = l.write(func(value []byte) (uint64, error) {
		if found.Revision == 0 {
			return table.Create(ctx, key, value)
		}
		return table.Update(ctx, key, value, found.Revision)
	})
	if errors.Is(err, queues.ErrRevision) { // somebody was faster
		return try(ctx, table, key, as, w)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
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

// write stores the row, and begins the lease anew.
func (l *Lease) write(store func(value []byte) (uint64, error)) error {
	l.row.Renewal++
	value, err := json.Marshal(l.row)
	if err != nil {
		return err
	}
	begun := time.Now()
	failpoint.Hit("lease.before")
	revision, err := store(value)
	failpoint.Hit("lease.after")
	if err == nil {
		l.revision, l.until = revision, begun.Add(Duration)
	}
	return err
}

// Renew begins the lease anew, with what change says of the row. It returns ErrLost if somebody has
// taken over; after any other error the lease goes on for as long as it was given.
func (l *Lease) Renew(ctx context.Context, change func(*Row)) error {
	next := *l
	change(&next.row)
	err := next.write(func(value []byte) (uint64, error) { return l.table.Update(ctx, l.key, value, l.revision) })
	if errors.Is(err, queues.ErrRevision) {
		return l.recognise(ctx)
	}
	if err == nil {
		*l = next
	}
	return err
}

// RenewForSure is Renew, again after a renewal of which no answer had come.
func (l *Lease) RenewForSure(ctx context.Context, change func(*Row)) error {
	for {
		if err := l.Renew(ctx, change); !errors.Is(err, errRenewAgain) {
			return err
		}
	}
}

var errRenewAgain = errors.New("lease: a renewal was not heard of; again")

// recognise looks whether the row that stood in the way is the lease's own: of a renewal of which no
// answer came.
func (l *Lease) recognise(ctx context.Context) error {
	found, err := l.table.Get(ctx, l.key)
	if err != nil && !errors.Is(err, queues.ErrNoRow) {
		return err
	}
	var there Row
	if err != nil || json.Unmarshal(found.Value, &there) != nil || there.Holder != l.row.Holder || there.Ended {
		return ErrLost
	}
	l.revision = found.Revision
	return errRenewAgain
}

// Valid reports whether nobody else can hold the lease now.
func (l *Lease) Valid(now time.Time) bool { return now.Before(l.until) }

// Until returns until when the lease was given.
func (l *Lease) Until() time.Time { return l.until }

// Row returns the row as it was last written.
func (l *Lease) Row() Row { return l.row }

// Key returns the key of the row.
func (l *Lease) Key() string { return l.key }
