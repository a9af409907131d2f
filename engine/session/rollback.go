package session

import (
	"context"
	"errors"
	"fmt"
	"weak"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// A server may come back with older files, or with none. A log that has become shorter would leave its
// reader waiting for ever: what is recorded anew there has sequences that it has read already. So after
// each reconnect the session looks whether the log is the one that it knows.

// checkLog looks at the log after a reconnect, and begins it anew if it has gone back. keeping is held.
func (s *Session) checkLog(ctx context.Context) error {
	now := s.broker.Reconnects()
	if now == s.reconnects && !s.unfinished {
		return nil
	}
	back, err := s.unfinished, error(nil)
	if !back {
		back, err = s.wentBack(ctx)
	}
	if err == nil && back {
		err = s.setBack(ctx)
	}
	if err != nil {
		return fmt.Errorf("session: look at the log after a reconnect: %w", err)
	}
	s.reconnects = now
	return nil
}

// wentBack reports whether the log is another one, or ends before what was read of it.
func (s *Session) wentBack(ctx context.Context) (bool, error) {
	me := s.self()
	read := s.follower().Last() // before asking: it grows
	if err := me.log.Restore(ctx); err != nil {
		return false, err
	}
	stream, err := me.log.Stream(ctx)
	return err == nil && (stream.Last < read || !stream.Created.Equal(me.created)), err
}

// setBack goes on with a log that has gone back. The mark up to which it may be trimmed is withdrawn, since
// it speaks of what was there before; then it is folded again, what was decided and is gone is appended
// again, and what is open is published again. keeping is held.
func (s *Session) setBack(ctx context.Context) error {
	s.cfg.Logger.Warn("session: the server has come back with an older log; going on with that", "owner", s.lease.Key())
	err := s.lease.RenewForSure(ctx, func(r *lease.Row) { r.Trimmed = 0 })
	if errors.Is(err, lease.ErrLost) {
		s.loseLease(ctx)
		return nil
	}
	if err != nil {
		return err
	}
	return s.beginAnew(ctx)
}

// beginAnew goes on under the lease's name, with whatever log that has. After an error, checkLog tries again.
// keeping is held.
func (s *Session) beginAnew(ctx context.Context) error {
	s.unfinished = true
	if f := s.follower(); f != nil {
		f.Close()
	}
	s.mu.Lock()
	s.trimmer = trimmer{}
	if s.job != nil {
		s.job.past, s.job.recalled = graph.Past{}, false
		s.job.values.clear()
	}
	s.mu.Unlock()
	if err := s.become(ctx, s.lease.Key()); err != nil {
		return err
	}
	if err := s.decideAgain(ctx); err != nil {
		return err
	}
	s.startOver()
	s.unfinished = false
	return nil
}

// decision is a task of a named job that has an outcome which the program may have seen.
type decision struct {
	digest task.Digest
	number uint64
	handle weak.Pointer[Handle]
}

// decide notes that the task has its outcome. Session.mu is held.
func (j *job) decide(h *Handle) {
	j.decided = append(j.decided, decision{h.digest(), h.number, weak.Make(h)})
}

// decideAgain appends the outcomes that the log of a named job has no more, so that the next run finds what
// this one has seen. What the program has let go of is not there to be appended: it runs again. keeping is
// held.
func (s *Session) decideAgain(ctx context.Context) error {
	if s.job == nil {
		return nil
	}
	for from, more := 0, true; more; {
		s.mu.Lock()
		var w task.RecordWriter
		from, more = s.missing(from, &w)
		me := s.me
		s.mu.Unlock()
		if w.Len() == 0 {
			continue
		}
		if err := me.log.Append(ctx, queues.Message{Data: w.Append(nil, me.owner, me.owner)}); err != nil {
			return err
		}
	}
	return nil
}

// missing adds outcomes from the index on which the log has no more to a record. It returns where to go on,
// and whether there is more. mu is held.
func (s *Session) missing(from int, w *task.RecordWriter) (next int, more bool) {
	decided := s.job.decided
	for ; from < len(decided) && w.Len() < maxEnds && w.Size() < s.maxValue/2; from++ {
		d := decided[from]
		h := d.handle.Value()
		if h == nil || h.digest() != d.digest { // let go of, or used for another task
			continue
		}
		if sequence, index, ended := s.job.past.Ended(d.digest); ended {
			if h.unread {
				h.named.stands = standing{sequence, index}
			}
			continue
		}
		if h.unread { // who asks for it is told that it is gone
			h.named.stands.sequence = gone
			continue
		}
		if e, ok := h.entry(); ok {
			w.Add(&e)
		}
	}
	return from, from < len(decided)
}

// gone is where a result stands that was in a part of the log which is no more.
const gone = ^uint64(0)

// entry returns an entry with the task's outcome; ok is false if the outcome is not at hand. Session.mu is
// held.
func (h *Handle) entry() (e task.Entry, ok bool) {
	e = task.Entry{Number: h.number, Digest: h.digest(), State: task.OK, Dispatch: task.Dispatch{Attempt: max(h.Attempt, 1), Losses: h.Losses}, Value: h.content}
	if h.failure == nil {
		return e, h.ended.Load() && !h.released && !h.unread
	}
	f, ok := errors.AsType[*task.Failure](h.failure)
	if !ok {
		return e, false
	}
	e.State, e.Value, e.Failure = task.Failed, task.Value{}, f
	if f.Kind == task.KindCancelled {
		e.State = task.Cancelled
	}
	return e, true
}
