package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// Duration is how long a lease lasts without a renewal. The holder counts from before it writes the row, others from when
// they have read it, so the holder stops before anybody else begins.
const Duration = 15 * time.Second

// RenewEvery is how often a holder renews its lease: two renewals may fail before the lease runs out.
const RenewEvery = Duration / 3

// Row is a session's row in the table of sessions: who holds it, and how much of its log may be trimmed. Written by
// session, read by nodeagent (janitor, claim). The lease of the janitors is such a row, too.
type Row struct {
	Holder  string        `json:"holder,omitempty"`  // program, process, host and a random suffix; "" = nobody
	Boot    string        `json:"boot,omitempty"`    // boot ID of the embedded server it was taken under; "" = an external server
	Run     uint64        `json:"run"`               // counts how often the lease was taken, 1 is the first
	Renewal uint64        `json:"renewal"`           // counts writes of the row, so that no two of them are equal
	Scope   string        `json:"scope,omitempty"`   // scope of its objects, if that is not the row's key
	Job     string        `json:"job,omitempty"`     // name of the job; "" = no other run will take over when the lease runs out
	TTL     time.Duration `json:"ttl,omitempty"`     // how long a named job is kept while nobody runs it
	Trimmed uint64        `json:"trimmed,omitempty"` // last sequence of the log that every reader has read
	Created time.Time     `json:"created,omitzero"`  // creation time of the stream with that log
	Ended   bool          `json:"ended,omitempty"`   // the session or job has ended: all that it left may be removed
}

// Errors of leases.
var (
	// ErrHeld says that another process holds the lease. The error names the holder if it is sure that the holder lives.
	ErrHeld = errors.New("another process holds the lease")
	// ErrLost says that another process has taken the lease, or has ended the row.
	ErrLost = errors.New("another process has taken the lease")
	// ErrEnded says that the row is marked as ended: nobody can take it any more.
	ErrEnded = errors.New("the lease has ended")
)

// Lease is a row of a table that its holder keeps by renewing it. It belongs to one goroutine.
type Lease struct {
	table    *queues.Table
	key      string
	row      Row
	revision uint64    // the newest one that is known to be of this holder
	until    time.Time // when the lease runs out; monotonic
}

// Take takes the lease and writes the row as it is in as, with Run, Trimmed and Created carried on from the former row. A
// row from another boot of an embedded server is taken at once, since its holder died with that server. Any other is
// watched until it must have run out: if its holder renews it meanwhile, the error is ErrHeld.
func Take(ctx context.Context, table *queues.Table, key string, as Row) (*Lease, error) {
	w := &watch{}
	for {
		l, err := try(ctx, table, key, as, w)
		if !errors.Is(err, errWatching) {
			return l, err
		}
		if err := wait.Pause(ctx, time.Second); err != nil {
			return nil, err
		}
	}
}

// Try is Take without waiting: if another process may hold the lease, the error is ErrHeld.
func Try(ctx context.Context, table *queues.Table, key string, as Row) (*Lease, error) {
	l, err := try(ctx, table, key, as, &watch{})
	if errors.Is(err, errWatching) {
		err = ErrHeld
	}
	return l, err
}

// watch is what a process that wants a lease has seen of its holder.
type watch struct {
	revision uint64    // of the row when it was first read; 0 = not read yet
	until    time.Time // when the lease has run out if the row is still the same
}

var errWatching = errors.New("lease: another process may hold it")

// check returns nil if the holder's lease has run out, ErrHeld if the holder has renewed it since the first call, and
// errWatching if neither is known yet.
func (w *watch) check(current Row, revision uint64) error {
	switch now := time.Now(); {
	case w.revision == 0:
		w.revision, w.until = revision, now.Add(Duration+time.Second)
		return errWatching
	case revision > w.revision: // a lower one is a stale answer of a replica that lags behind
		return fmt.Errorf("%w: %s", ErrHeld, current.Holder)
	case now.Before(w.until):
		return errWatching
	}
	return nil
}

// try takes the lease if nobody holds it. It returns errWatching if that is to be looked at again later.
func try(ctx context.Context, table *queues.Table, key string, as Row, w *watch) (*Lease, error) {
	l := &Lease{table: table, key: key, row: as}
	l.row.Run = 1
	found, err := table.Get(ctx, key)
	if err != nil && !errors.Is(err, queues.ErrNoRow) {
		return nil, err
	}
	if err == nil {
		var current Row
		if err := json.Unmarshal(found.Value, &current); err != nil {
			return nil, fmt.Errorf("lease: row %s: %w", key, err)
		}
		if current.Ended {
			return nil, ErrEnded
		}
		if current.Holder != "" && current.Holder != as.Holder && current.Boot == as.Boot {
			if err := w.check(current, found.Revision); err != nil {
				return nil, err
			}
		}
		l.row.Run, l.row.Trimmed, l.row.Created = current.Run+1, current.Trimmed, current.Created
	}
	err = l.write(func(value []byte) (uint64, error) {
		if found.Revision == 0 {
			return table.Create(ctx, key, value)
		}
		return table.Update(ctx, key, value, found.Revision)
	})
	if errors.Is(err, queues.ErrRevision) { // another process has written the row meanwhile
		return try(ctx, table, key, as, w)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// write stores the row by store, a compare-and-set. If that succeeds, the lease lasts for Duration from before the write.
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

// Renew applies change to the row and writes it, which renews the lease. The error is ErrLost if another process has taken
// the lease or ended the row. After any other error the lease lasts until Until, as before, and the caller may try again.
func (l *Lease) Renew(ctx context.Context, change func(*Row)) error {
	next := *l
	change(&next.row)
	err := next.write(func(value []byte) (uint64, error) { return l.table.Update(ctx, l.key, value, l.revision) })
	if errors.Is(err, queues.ErrRevision) {
		return l.adoptOwnRow(ctx)
	}
	if err == nil {
		*l = next
	}
	return err
}

// RenewForSure is Renew; if the row turns out to be from an earlier renewal whose answer was lost, it renews again, so that
// after success the row is as change has left it.
func (l *Lease) RenewForSure(ctx context.Context, change func(*Row)) error {
	for {
		if err := l.Renew(ctx, change); !errors.Is(err, errRenewAgain) {
			return err
		}
	}
}

var errRenewAgain = errors.New("lease: the answer to an earlier renewal was lost; renew again")

// adoptOwnRow is called when a renewal was refused because the row has another revision than l knows. If the row is the
// holder's own, from a renewal whose answer was lost, l takes its revision, and the error is errRenewAgain. (A
// directory.Row does the same, but creates a missing row again.)
func (l *Lease) adoptOwnRow(ctx context.Context) error {
	found, err := l.table.Get(ctx, l.key)
	if err != nil && !errors.Is(err, queues.ErrNoRow) {
		return err
	}
	var current Row
	if err != nil || json.Unmarshal(found.Value, &current) != nil || current.Holder != l.row.Holder || current.Ended {
		return ErrLost
	}
	l.revision = found.Revision
	return errRenewAgain
}

// Valid reports whether the lease still lasts: nobody else can hold it at that time.
func (l *Lease) Valid(now time.Time) bool { return now.Before(l.until) }

// Until returns when the lease runs out if it is not renewed.
func (l *Lease) Until() time.Time { return l.until }

// Row returns the row as it was last written.
func (l *Lease) Row() Row { return l.row }

// Key returns the key of the row.
func (l *Lease) Key() string { return l.key }
