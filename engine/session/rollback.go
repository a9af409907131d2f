package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// A server may come back with older files, or with none. Then the log is rolled back: it has become shorter, and its reader
// would wait for ever, since what is recorded anew there has sequences that it has read already. So after each reconnect
// the session looks whether the log is the one that it knows.

// checkLog looks at the log after a reconnect, and opens it again if it was rolled back. keeper.lock is held.
func (s *Session) checkLog(ctx context.Context) error {
	k, now := &s.keeper, s.broker.Reconnects()
	if now == k.reconnects && !k.unfinished {
		return nil
	}
	back, err := k.unfinished, error(nil)
	if !back {
		back, err = s.rolledBack(ctx)
	}
	if err == nil && back {
		err = s.recoverRollback(ctx)
	}
	if err != nil {
		return fmt.Errorf("session: look at the log after a reconnect: %w", err)
	}
	k.reconnects = now
	return nil
}

// rolledBack reports whether the log is another one, or ends before what was read of it.
func (s *Session) rolledBack(ctx context.Context) (bool, error) {
	id := s.reader.identity()
	read := id.follower.Load().Last() // before asking: it grows
	if err := id.log.Restore(ctx); err != nil {
		return false, err
	}
	stream, err := id.log.Stream(ctx)
	return err == nil && (stream.Last < read || !stream.Created.Equal(id.created)), err
}

// recoverRollback goes on with a log that was rolled back. The mark up to which it may be trimmed is withdrawn, since
// it speaks of what was there before; then the log is folded again, what was decided and is gone is appended
// again, and what is open is published again. keeper.lock is held.
func (s *Session) recoverRollback(ctx context.Context) error {
	s.cfg.Logger.Warn("session: the server has come back with an older log; going on with that", "owner", s.keeper.lease.Key())
	err := s.keeper.lease.RenewForSure(ctx, func(r *lease.Row) { r.Trimmed = 0 })
	if errors.Is(err, lease.ErrLost) {
		s.leaseLost(ctx)
		return nil
	}
	if err != nil {
		return err
	}
	return s.reopenLog(ctx)
}

// reopenLog goes on under the lease's name, with whatever log that has. After an error, checkLog tries again.
// keeper.lock is held.
func (s *Session) reopenLog(ctx context.Context) error {
	s.keeper.unfinished = true
	s.reader.close()
	if s.resume != nil {
		s.mu.Lock()
		s.resume.forget()
		s.mu.Unlock()
		s.reader.cache.clear()
	}
	if err := s.openLog(ctx, s.keeper.lease.Key()); err != nil {
		return err
	}
	if err := s.appendLost(ctx); err != nil {
		return err
	}
	s.republish()
	s.keeper.unfinished = false
	return nil
}

// appendLost appends the outcomes that the log of a named job has no more, so that the next run finds what
// this one has seen. What the program has let go of is not there to be appended: it runs again. keeper.lock is
// held.
func (s *Session) appendLost(ctx context.Context) error {
	if s.resume == nil {
		return nil
	}
	for from, more := 0, true; more; {
		var w task.RecordWriter
		s.mu.Lock()
		from, more = s.resume.lost(from, &w, s.maxRecord())
		id := s.reader.identity()
		s.mu.Unlock()
		if w.Len() == 0 {
			continue
		}
		if err := id.log.Append(ctx, queues.Message{Data: w.Append(nil, id.owner, id.owner)}); err != nil {
			return err
		}
	}
	return nil
}

// maxRecord returns about how many bytes a record of the owner's has at most.
func (s *Session) maxRecord() int { return s.objects.store.Most / 2 }

// lost adds outcomes that the log has no more to a record of so many bytes, from the index on. It returns where to go on,
// and whether there is more. Session.mu is held.
func (r *resume) lost(from int, w *task.RecordWriter, maxBytes int) (next int, more bool) {
	for ; from < len(r.decided) && w.Len() < maxEnds && w.Size() < maxBytes; from++ {
		d := r.decided[from]
		h := d.handle.Value()
		if h == nil || h.digest() != d.digest { // let go of, or used for another task
			continue
		}
		if sequence, index, ended := r.past.Ended(d.digest); ended {
			if h.inLog {
				h.named.recordedAt = logPosition{sequence, index}
			}
			continue
		}
		if h.inLog { // Outcome returns an error that says that it is gone
			h.named.recordedAt.sequence = lostSequence
			continue
		}
		if e, ok := h.entry(); ok {
			w.Add(&e)
		}
	}
	return from, from < len(r.decided)
}

// entry returns an entry with the task's outcome; ok is false if the outcome is not at hand. Session.mu is
// held.
func (h *Handle) entry() (e task.Entry, ok bool) {
	e = task.Entry{Number: h.number, Digest: h.digest(), State: task.OK, Dispatch: h.dispatch, Value: h.content}
	e.Attempt = max(e.Attempt, 1)
	if h.failure == nil {
		return e, h.ended.Load() && !h.released && !h.inLog
	}
	f, ok := errors.AsType[*task.Failure](h.failure)
	if !ok {
		return e, false
	}
	e.State, e.Value, e.Failure, e.Unbegun = task.Failed, task.Value{}, f, f.Attempt < int(e.Attempt)
	if f.Kind == task.KindCancelled {
		e.State = task.Cancelled
	}
	return e, true
}
