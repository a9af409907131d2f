package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// logReader knows under which name the session is, follows the log of that name, and says how far it was read.
//
// The identity is replaced under Session.mu, and may be read without. mu guards the trim mark, and is taken after
// Session.mu.
type logReader struct {
	current   atomic.Pointer[identity]
	began     time.Time    // of the reader; times are counted from it
	heard     atomic.Int64 // when the log was last heard of; nanoseconds since began
	expecting atomic.Bool  // timer runs
	timer     *time.Timer  // wakes the publisher when the log may be silent
	cache     recordCache

	mu   sync.Mutex
	trim trimMark // guarded by mu; of the current log
}

// identity is a name of the session, and what it has under that name.
type identity struct {
	owner     string
	header    queues.Header // of batches
	log       *queues.Log
	created   time.Time                       // of the log's stream
	follower  atomic.Pointer[queues.Follower] // nil until the log is followed
	record    task.Record                     // memory of fold
	announced announcement                    // memory of fold; only under Session.mu
}

// ownerHeader names a batch's owner for those who do not decode it.
const ownerHeader = "Tm-Owner"

// silence is how long a session with open tasks hears nothing before it asks for the end of its log.
const silence = time.Second

// identity returns the present one.
func (r *logReader) identity() *identity { return r.current.Load() }

// heardNow notes that the log was heard of.
func (r *logReader) heardNow() { r.heard.Store(int64(time.Since(r.began))) }

// silentAt returns when the log will have been silent for long.
func (r *logReader) silentAt() time.Time {
	return r.began.Add(time.Duration(r.heard.Load()) + silence)
}

// expect has the publisher look in a while whether the log is silent, since from now on something is expected. The
// publisher may sleep for longer, and is not woken now for what most often turns out to be nothing.
func (r *logReader) expect() {
	r.heardNow()
	if r.expecting.CompareAndSwap(false, true) {
		r.timer.Reset(silence)
	}
}

// ask has the follower ask for the end of the log.
func (r *logReader) ask(ctx context.Context) error {
	if f := r.identity().follower.Load(); f != nil {
		return f.Ask(ctx)
	}
	return nil // another log is being opened
}

// close stops reading, and forgets what of the log may be trimmed: the log may have been rolled back.
func (r *logReader) close() {
	if f := r.identity().follower.Load(); f != nil {
		f.Close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trim = trimMark{closed: true}
}

// folded notes that a record was read. It reports whether the keeper is to say so sooner than it had planned.
func (r *logReader) folded(id *identity, sequence uint64, bytes int) bool {
	r.heardNow()
	r.mu.Lock()
	defer r.mu.Unlock()
	return id == r.identity() && !r.trim.closed && r.trim.folded(sequence, bytes)
}

// openLog has the session go on under the name: it opens the log there.
func (s *Session) openLog(ctx context.Context, owner string) error {
	id := &identity{owner: owner, header: queues.Header{ownerHeader: {owner}}}
	var err error
	if id.log, err = s.broker.OpenLog(ctx, s.broker.Log(owner)); err != nil {
		return err
	}
	stream, err := id.log.Stream(ctx)
	if err != nil {
		return err
	}
	id.created = stream.Created
	s.mu.Lock()
	s.reader.mu.Lock()
	s.reader.current.Store(id)
	s.reader.trim = trimMark{}
	s.reader.mu.Unlock()
	s.keeper.confirm()
	s.mu.Unlock()
	if s.resume != nil {
		return s.recallJob(ctx)
	}
	return s.follow(ctx)
}

// follow begins to fold the log, from its beginning.
func (s *Session) follow(ctx context.Context) error {
	id := s.reader.identity()
	follower, err := id.log.Follow(ctx, 0, func(e queues.LogEntry) { s.fold(id, e) })
	id.follower.Store(follower)
	return err
}

// trimMark knows how far the log was read: the session's row says so, and an agent trims the log up to there.
type trimMark struct {
	read  uint64    // the sequence folded last
	bytes int       // folded since the mark was written
	mark  uint64    // the sequence in the row
	at    time.Time // when it was written

	closed bool // the log is not read any more
}

// The mark is written every second at most, and sooner when much was read.
const (
	trimEvery = time.Second
	trimBytes = 8 << 20
)

// folded notes that a record was read. It reports whether that is worth writing sooner than planned.
func (t *trimMark) folded(sequence uint64, bytes int) bool {
	first := t.read <= t.mark
	t.read = sequence
	t.bytes += bytes
	return first || t.bytes >= trimBytes
}

// take returns the mark to be written now, 0 if there is none; and otherwise when there will be one, zero if none is to
// come.
func (t *trimMark) take(now time.Time) (mark uint64, at time.Time) {
	if t.read <= t.mark {
		return 0, time.Time{}
	}
	if at := t.at.Add(trimEvery); now.Before(at) && t.bytes < trimBytes {
		return 0, at
	}
	t.mark, t.bytes, t.at = t.read, 0, now
	return t.read, time.Time{}
}

// trimMark returns the trim mark to be written now, 0 if there is none, and otherwise when there will be one.
func (r *logReader) trimMark(now time.Time) (mark uint64, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trim.take(now)
}

// recordCache keeps records that were read from the log for the results in them. A record has many results, and they are
// asked for about in the order in which they were recorded.
type recordCache struct {
	mu      sync.Mutex
	records [16]cachedRecord // guarded by mu
	next    int              // guarded by mu; which one is replaced next
}

type cachedRecord struct {
	sequence uint64
	record   *task.Record
}

// clear forgets what was read: sequences may stand for other records now.
func (c *recordCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = [len(c.records)]cachedRecord{}
}

func (c *recordCache) get(sequence uint64) *task.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.records {
		if r.sequence == sequence {
			return r.record
		}
	}
	return nil
}

func (c *recordCache) put(sequence uint64, rec *task.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records[c.next] = cachedRecord{sequence, rec}
	c.next = (c.next + 1) % len(c.records)
}

var errNotThere = errors.New("the log was rolled back, and no longer has it")

// value returns the result of the task that stands at that place in the log.
func (r *logReader) value(ctx context.Context, at logPosition, of task.Digest) (task.Value, error) {
	rec, err := r.record(ctx, at.sequence)
	if err == nil && (at.index >= len(rec.Entries) || rec.Entries[at.index].Digest != of) {
		err = errNotThere // the log was rolled back, and has other records now
	}
	if err != nil {
		return task.Value{}, fmt.Errorf("session: read a result recorded by a former run: %w", err)
	}
	v := rec.Entries[at.index].Value
	v.Data = append([]byte(nil), v.Data...)
	return v, nil
}

// record returns the record of that sequence.
func (r *logReader) record(ctx context.Context, sequence uint64) (*task.Record, error) {
	if rec := r.cache.get(sequence); rec != nil {
		return rec, nil
	}
	log := r.identity().log
	e, err := untilAnswered(ctx, func() (queues.LogEntry, error) { return log.Get(ctx, sequence) })
	if err != nil {
		return nil, err
	}
	rec := new(task.Record)
	if err := task.DecodeRecord(e.Data, rec); err != nil {
		return nil, err
	}
	r.cache.put(sequence, rec)
	return rec, nil
}
