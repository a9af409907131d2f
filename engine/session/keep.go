package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
)

// keep keeps the session's rows: it renews the lease, says how far the log may be trimmed, and tells
// agents what not to run. It talks to tables, which may take long; publishing does not wait for it.
func (s *Session) keep() {
	renew := time.NewTimer(lease.RenewEvery)
	defer renew.Stop()
	for s.base.Err() == nil {
		pause := s.keepOnce()
		renew.Reset(pause)
		select {
		case <-s.tell:
		case <-renew.C:
		case <-s.base.Done():
		}
	}
}

// keepOnce does what is to be done now and returns when to look again.
func (s *Session) keepOnce() time.Duration {
	s.keeping <- struct{}{}
	defer func() { <-s.keeping }()
	trimmed, trimAt := s.trimMark(time.Now())
	renewAt := s.lease.Until().Add(lease.RenewEvery - lease.Duration)
	if now := time.Now(); trimmed > 0 || !now.Before(renewAt) {
		s.renew(trimmed)
		renewAt = s.lease.Until().Add(lease.RenewEvery - lease.Duration)
	}
	err := s.chores()
	if err != nil && s.base.Err() == nil {
		s.cfg.Logger.Warn("session: a row, a dead letter or an object is not seen to; trying again", "err", err)
	}
	next := time.Until(renewAt)
	if !trimAt.IsZero() {
		next = min(next, time.Until(trimAt))
	}
	if err != nil {
		next = min(next, refusedAgain)
	}
	return max(next, minKeep)
}

// chores does what else is to be done, in time for the next renewal: however slow it is, the lease comes first.
// keeping is held.
func (s *Session) chores() error {
	var errs []error
	for _, chore := range []func(ctx context.Context) error{s.checkLog, s.revoke, s.clean, s.post} {
		ctx, cancel := context.WithTimeout(s.base, choreTime)
		errs = append(errs, chore(ctx))
		cancel()
	}
	return errors.Join(errs...)
}

// choreTime bounds one chore: all of them together leave time for two renewals that fail.
const choreTime = lease.Duration / 8

// minKeep bounds how often rows are written.
const minKeep = 50 * time.Millisecond

// renew writes the session's row. keeping is held.
func (s *Session) renew(trimmed uint64) {
	ctx, cancel := context.WithTimeout(s.base, lease.Duration/2)
	defer cancel()
	me := s.self()
	err := s.lease.Renew(ctx, func(r *lease.Row) {
		if trimmed > 0 {
			r.Trimmed, r.Created = trimmed, me.created
		}
	})
	switch {
	case s.base.Err() != nil:
	case errors.Is(err, lease.ErrLost):
		s.loseLease(ctx)
	case err != nil:
		s.cfg.Logger.Warn("session: renew the lease", "owner", me.owner, "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until != s.lease.Until() && !s.unfinished {
		s.until = s.lease.Until()
		s.rouse()
	}
}

// loseLease ends a named job's run: another has taken over, and goes on with what this one leaves. An
// unnamed session takes a new name, and publishes there what is open. keeping is held.
func (s *Session) loseLease(ctx context.Context) {
	old := s.self()
	if s.job != nil {
		s.breakWith(fmt.Errorf("job %s: %w", s.cfg.Job, lease.ErrLost))
		return
	}
	s.renamed++
	owner := fmt.Sprintf("%s-%d", s.cfg.Owner, s.renamed)
	row := s.lease.Row()
	lease, err := lease.Take(ctx, s.sessions, owner, lease.Row{Holder: row.Holder, Boot: row.Boot, Scope: s.scope})
	if err != nil {
		s.cfg.Logger.Warn("session: take a new name; trying again", "owner", owner, "err", err)
		return
	}
	s.cfg.Logger.Warn("session: the lease was lost; going on under a new name", "owner", old.owner, "new", owner)
	s.lease = lease
	if err := s.beginAnew(ctx); err != nil {
		s.cfg.Logger.Warn("session: follow the log of a new name; trying again", "owner", owner, "err", err)
	}
}

// startOver publishes all that is open anew: what was published or asked for under an old name, or in a
// log that was set back, is void.
func (s *Session) startOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.order {
		l.waiting.clear()
		l.window.reset()
	}
	s.ends = nil
	var handles []*Handle
	s.open.All(func(_ uint64, h *Handle) {
		if h.local() == nil { // what runs here does not go by the log
			handles = append(handles, h)
		}
	})
	slices.SortFunc(handles, func(x, y *Handle) int { return int(int64(x.number) - int64(y.number)) })
	for _, h := range handles {
		s.step(&graph.Event{What: graph.Void, Task: h.number}, h, nil)
	}
	s.rouse()
}

// leave keeps what dead letters wait and gives the lease up: a named job's next run may begin at once; an
// unnamed session ends.
func (s *Session) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	s.keeping <- struct{}{}
	defer func() { <-s.keeping }()
	if err := s.post(ctx); err != nil {
		s.cfg.Logger.Warn("session: a dead letter is lost", "err", err)
	}
	err := s.lease.RenewForSure(ctx, func(r *lease.Row) {
		r.Ended = r.Ended || s.job == nil
		r.Holder = ""
	})
	if err != nil && !errors.Is(err, lease.ErrLost) {
		s.cfg.Logger.Warn("session: give up the lease", "err", err)
	}
}

const leaveTimeout = 2 * time.Second

// End says that nothing of this session is wanted any more: a named job ends, and what was not finished
// is cancelled. The session cannot be used afterwards, but is to be closed.
func (s *Session) End(ctx context.Context) error {
	s.breakWith(ErrClosed)
	s.keeping <- struct{}{}
	defer func() { <-s.keeping }()
	if err := s.lease.RenewForSure(ctx, func(r *lease.Row) { r.Ended = true }); err != nil {
		return fmt.Errorf("session: end %s: %w", s.Owner(), err)
	}
	return nil
}

// trimmer knows how far the log was read: an agent trims what the session's row says.
type trimmer struct {
	read  uint64    // the sequence folded last
	bytes int       // folded since told
	told  uint64    // the sequence in the row
	at    time.Time // when it was told
}

// Trimming is told of every second at most, and sooner when much was read.
const (
	trimEvery = time.Second
	trimBytes = 8 << 20
)

// folded notes that a record was read, and reports whether that is worth telling sooner than planned.
func (t *trimmer) folded(sequence uint64, bytes int) bool {
	first := t.read <= t.told
	t.read = sequence
	t.bytes += bytes
	return first || t.bytes >= trimBytes
}

// trimMark returns the mark to tell of now, 0 if none; or else when there will be one, zero if none is
// to come. The log of a named job stays whole until the job ends.
func (s *Session) trimMark(now time.Time) (mark uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.trimmer
	if t.read <= t.told || s.job != nil && !broken.TrimShared {
		return 0, time.Time{}
	}
	if at := t.at.Add(trimEvery); now.Before(at) && t.bytes < trimBytes {
		return 0, at
	}
	t.told, t.bytes, t.at = t.read, 0, now
	return t.read, time.Time{}
}

// nudge wakes the keeper.
func (s *Session) nudge() {
	select {
	case s.tell <- struct{}{}:
	default:
	}
}

// CancelsAge is how long agents are told of what is cancelled. What is drawn later than that runs in
// vain.
const CancelsAge = 24 * time.Hour

// Cancels is a row in the table of cancels: tasks of the owner that the key begins with. Written by session, read by
// nodeagent.
type Cancels struct {
	Asked task.Ranges `json:"asked,omitempty"` // somebody asked for their cancellation
	Late  task.Ranges `json:"late,omitempty"`  // their deadlines have passed
}

// revocation is what agents are to be told.
type revocation struct{ asked, late []uint64 }

func (r *revocation) add(more revocation) {
	r.asked = append(r.asked, more.asked...)
	r.late = append(r.late, more.late...)
}

// Failures of tasks that are ended from outside: the same, whether the owner or an agent records them.
var (
	AskedFailure = task.Failure{Kind: task.KindCancelled, Message: "at its caller's request"}
	LateFailure  = task.Failure{Kind: task.KindTimeout, Message: "no outcome within its deadline"}
)

// revoke tells agents of the tasks that are not to run. keeping is held.
func (s *Session) revoke(ctx context.Context) error {
	s.mu.Lock()
	r, owner := s.revoked, s.me.owner
	s.revoked = revocation{}
	s.mu.Unlock()
	if len(r.asked)+len(r.late) == 0 {
		return nil
	}
	asked, late := ranges(r.asked), ranges(r.late)
	for len(asked)+len(late) > 0 {
		row := Cancels{asked[:min(len(asked), maxRanges)], late[:min(len(late), maxRanges)]}
		value, err := json.Marshal(row)
		if err == nil {
			s.rows++
			_, err = s.cancels.Put(ctx, fmt.Sprintf("%s.%d-%d", owner, s.lease.Row().Run, s.rows), value)
		}
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.revoked.add(revocation{numbersOf(asked), numbersOf(late)})
			return err
		}
		asked, late = asked[len(row.Asked):], late[len(row.Late):]
	}
	return nil
}

// maxRanges bounds the ranges of one row.
const maxRanges = 4096

func numbersOf(ranges [][2]uint64) (numbers []uint64) {
	for _, r := range ranges {
		for n := r[0]; n <= r[1]; n++ {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// ranges makes ranges of numbers, which it sorts.
func ranges(numbers []uint64) (out [][2]uint64) {
	slices.Sort(numbers)
	for _, n := range numbers {
		if last := len(out) - 1; last >= 0 && n <= out[last][1]+1 {
			out[last][1] = n
			continue
		}
		out = append(out, [2]uint64{n, n})
	}
	return out
}

// ClassKey returns the key of a class and level in the table of classes.
func ClassKey(class task.Class, level task.Level) string { return string(class) + "." + string(level) }

// ParseClassKey is the inverse of ClassKey.
func ParseClassKey(key string) (task.Class, task.Level, bool) {
	class, level, ok := strings.Cut(key, ".")
	return task.Class(class), task.Level(level), ok
}
