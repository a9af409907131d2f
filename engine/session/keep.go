package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// keeper is the goroutine that keeps the session's lease, and what it knows: it renews the lease, says how far the log may be
// trimmed, and does the I/O that can wait. It talks to tables, which may take long; publishing does not wait for it.
//
// lock guards it. The goroutine holds it while it works; Close and End take it, too. It is taken before Session.mu.
type keeper struct {
	sessions *queues.Table // fixed once the session is connected
	wake     wait.Signal   // there is something to do
	began    time.Time     // times are counted from it
	until    atomic.Int64  // until when the lease is certainly the session's; nanoseconds since began

	lock       wait.Lock    // held over I/O
	lease      *lease.Lease // guarded by lock
	renamed    int          // guarded by lock; how often the session took another name
	reconnects uint64       // guarded by lock; up to which one the log is known to be the one that was read
	unfinished bool         // guarded by lock; another log was opened, and what is open is not published there yet
}

// leaseless is for how long a publisher without the lease sleeps; the keeper wakes it.
const leaseless = lease.Duration

// leased reports whether nobody else can have the session's name now: without the lease, nothing is sent.
func (k *keeper) leased(now time.Time) bool { return now.Sub(k.began) < time.Duration(k.until.Load()) }

// confirm has leased go by the lease as it is now. It reports whether that is news. lock is held.
func (k *keeper) confirm() bool {
	until := int64(k.lease.Until().Sub(k.began))
	return k.until.Swap(until) != until
}

// renewAt returns when the lease is to be renewed. lock is held.
func (k *keeper) renewAt() time.Time { return k.lease.Until().Add(lease.RenewEvery - lease.Duration) }

// runKeeper is the goroutine.
func (s *Session) runKeeper() {
	renew := time.NewTimer(lease.RenewEvery)
	defer renew.Stop()
	for s.base.Err() == nil {
		pause := s.maintain()
		renew.Reset(pause)
		select {
		case <-s.keeper.wake:
		case <-renew.C:
		case <-s.base.Done():
		}
	}
}

// minPause bounds how often rows are written.
const minPause = 50 * time.Millisecond

// maintain does what is to be done now, and returns when to look again.
func (s *Session) maintain() time.Duration {
	k := &s.keeper
	k.lock.Lock()
	defer k.lock.Unlock()
	trimmed, trimAt := s.trimMark(time.Now())
	if now := time.Now(); trimmed > 0 || !now.Before(k.renewAt()) {
		s.renew(trimmed)
	}
	next := k.renewAt()
	err := s.maintenance()
	if err != nil && s.base.Err() == nil {
		s.cfg.Logger.Warn("session: maintenance failed; trying again", "owner", k.lease.Key(), "err", err)
	}
	pause := time.Until(next)
	if !trimAt.IsZero() {
		pause = min(pause, time.Until(trimAt))
	}
	if err != nil {
		pause = min(pause, retryDelay)
	}
	return max(pause, minPause)
}

// trimMark returns the trim mark that is to be written now, 0 if there is none, or otherwise when there will be one. The log
// of a named job stays whole until the job ends.
func (s *Session) trimMark(now time.Time) (mark uint64, at time.Time) {
	if s.resume != nil && !broken.TrimShared {
		return 0, time.Time{}
	}
	if s.keeper.unfinished || s.broker.Reconnects() != s.keeper.reconnects {
		return 0, time.Time{} // the log may have been rolled back: checkLog looks, and another turn follows
	}
	return s.reader.trimMark(now)
}

// stepTime bounds one step of maintenance: all of them together leave time for two renewals that fail.
const stepTime = lease.Duration / 8

// maintenance does what else is to be done, in time for the next renewal: however slow it is, the lease comes first.
// keeper.lock is held.
func (s *Session) maintenance() error {
	var errs []error
	for _, step := range []func(ctx context.Context) error{s.checkLog, s.publishCancels, s.objects.removeFree, s.letters.flush} {
		ctx, cancel := context.WithTimeout(s.base, stepTime)
		errs = append(errs, step(ctx))
		cancel()
	}
	return errors.Join(errs...)
}

// maxFailed is how many failures end a step: then not single items are the reason, but the server.
const maxFailed = 16

// doEach does one thing after the other, until ctx ends or many have failed. It returns what is left to be done, first what
// was not tried: so what always fails keeps none of the others. The error is the first one.
func doEach[T any](ctx context.Context, items []T, do func(T) error) (left []T, err error) {
	var failed []T
	for len(items) > 0 && len(failed) < maxFailed && ctx.Err() == nil {
		item := items[0]
		items = items[1:]
		if e := do(item); e != nil {
			failed = append(failed, item)
			err = cmp.Or(err, e)
		}
	}
	return slices.Concat(items, failed), cmp.Or(err, ctx.Err())
}

// publishCancels tells agents of tasks that are not to run. keeper.lock is held.
func (s *Session) publishCancels(ctx context.Context) error {
	return s.cancels.flush(ctx, s.reader.identity().owner, s.keeper.lease.Row().Run)
}

// renew writes the session's row. keeper.lock is held.
func (s *Session) renew(trimmed uint64) {
	ctx, cancel := context.WithTimeout(s.base, lease.Duration/2)
	defer cancel()
	k, id := &s.keeper, s.reader.identity()
	err := k.lease.Renew(ctx, func(r *lease.Row) {
		if trimmed > 0 {
			r.Trimmed, r.Created = trimmed, id.created
		}
	})
	switch {
	case s.base.Err() != nil:
	case errors.Is(err, lease.ErrLost):
		s.leaseLost(ctx)
	case err != nil:
		s.cfg.Logger.Warn("session: renew the lease", "owner", id.owner, "err", err)
	}
	if !k.unfinished && k.confirm() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.publisher.wakeUp()
	}
}

// leaseLost ends a named job's run: another has taken over, and goes on with what this one leaves. An
// unnamed session takes a new name, and publishes there what is open. keeper.lock is held.
func (s *Session) leaseLost(ctx context.Context) {
	k, old := &s.keeper, s.reader.identity()
	if s.resume != nil {
		s.breakWith(fmt.Errorf("job %s: %w", s.cfg.Job, lease.ErrLost))
		return
	}
	k.renamed++
	owner := fmt.Sprintf("%s-%d", s.cfg.Owner, k.renamed)
	row := k.lease.Row()
	l, err := lease.Take(ctx, k.sessions, owner, lease.Row{Holder: row.Holder, Boot: row.Boot, Scope: s.objects.scope})
	if err != nil {
		s.cfg.Logger.Warn("session: take a new name; trying again", "owner", owner, "err", err)
		return
	}
	s.cfg.Logger.Warn("session: the lease was lost; going on under a new name", "owner", old.owner, "new", owner)
	k.lease = l
	if err := s.reopenLog(ctx); err != nil {
		s.cfg.Logger.Warn("session: follow the log of a new name; trying again", "owner", owner, "err", err)
	}
}

// republish publishes all that is open again: what was published or asked for under an old name, or in a log that was
// rolled back, is void.
func (s *Session) republish() {
	u := s.lock()
	defer u.unlock()
	s.outbox.clear()
	s.tracker.ends = nil
	for _, h := range s.tracker.publishedTasks() { // what runs on this agent does not go by the log
		u.apply(&graph.Event{What: graph.Void, Task: h.number}, h, nil)
	}
	u.publish = true
}

// leaveTimeout bounds what Close does after the goroutines have ended.
const leaveTimeout = 2 * time.Second

// leave writes what dead letters wait and gives the lease up: a named job's next run may begin at once; an
// unnamed session ends.
func (s *Session) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	s.keeper.lock.Lock()
	defer s.keeper.lock.Unlock()
	if err := s.letters.flush(ctx); err != nil {
		s.cfg.Logger.Warn("session: dead letters are lost: the session closes and could not write them", "owner", s.keeper.lease.Key(), "err", err)
	}
	err := s.keeper.lease.RenewForSure(ctx, func(r *lease.Row) {
		r.Ended = r.Ended || s.resume == nil
		r.Holder = ""
	})
	if err != nil && !errors.Is(err, lease.ErrLost) {
		s.cfg.Logger.Warn("session: give up the lease at close; it ends by itself", "owner", s.keeper.lease.Key(), "err", err)
	}
}

// End says that nothing of this session is wanted any more: a named job ends, and what was not finished
// is cancelled. The session cannot be used afterwards, but is to be closed. One that was closed or has failed cannot end: the
// error is its own.
func (s *Session) End(ctx context.Context) error {
	if s.base.Err() != nil {
		return s.Err()
	}
	s.breakWith(ErrClosed)
	s.keeper.lock.Lock()
	defer s.keeper.lock.Unlock()
	if err := s.keeper.lease.RenewForSure(ctx, func(r *lease.Row) { r.Ended = true }); err != nil {
		return fmt.Errorf("session: end %s: %w", s.Owner(), err)
	}
	return nil
}

// ClassKey returns the key of a class and level in the table of classes.
func ClassKey(class task.Class, level task.Level) string { return string(class) + "." + string(level) }

// ParseClassKey is the inverse of ClassKey.
func ParseClassKey(key string) (task.Class, task.Level, bool) {
	class, level, ok := strings.Cut(key, ".")
	return task.Class(class), task.Level(level), ok
}
