package session

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
	"github.com/tidemill/tidemill/queues"
)

// job is what makes a session a run of a named job. The program itself is the plan: each of its submits
// has a digest that is the same in every run, and what a former run has left under it is taken over.
//
// A job goes through incarnations. The runs of one share an owner's name, and so a log, until the job
// ends; what then still comes to that log nobody reads.
type job struct {
	past     graph.Past              // guarded by Session.mu; what former runs have left and this one has not asked for
	open     map[task.Digest]uint64  // guarded by Session.mu; numbers of open tasks
	equal    map[task.Digest]uint32  // guarded by Session.mu; how many equal calls there were
	share    int                     // guarded by Session.mu; of a batch of tasks that were lost with a former run
	recalled bool                    // guarded by Session.mu; what former runs have left is known
	stop     revocation              // guarded by Session.mu; tasks that former runs have ended by themselves
	decided  []decision              // guarded by Session.mu; what this run knows the outcomes of
	letters  map[string]*lettersKept // guarded by Session.keeping; by class and function
	values   valueCache
}

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

// recallJob learns what former runs have left: first what is queued, then what is recorded. Between the
// two a task can only go from the queue to the log, and so is seen at least once.
func (s *Session) recallJob(ctx context.Context) error {
	steps := []func(context.Context) error{s.listQueued, s.follow}
	if broken.FoldFirst {
		steps[0], steps[1] = steps[1], steps[0]
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.job.share = parts(s.job.past.Lost())
	s.revoked.add(s.job.stop) // a former run may have died before agents were told
	s.job.stop, s.job.recalled = revocation{}, true
	return nil
}

// listQueued notes the copies of this owner's tasks that wait in queues.
func (s *Session) listQueued(ctx context.Context) error {
	classes, err := s.classes.All(ctx)
	if err != nil {
		return err
	}
	var b task.Batch
	for _, row := range classes {
		class, level, ok := ParseClassKey(row.Key)
		if !ok {
			continue
		}
		queue, err := s.broker.OpenQueue(ctx, s.broker.Batches(string(class), string(level)))
		if err != nil {
			return err
		}
		for m, err := range queue.List(ctx) {
			if err != nil {
				return err
			}
			if m.Header.Get(ownerHeader) != s.me.owner || task.DecodeBatch(m.Data, &b) != nil {
				continue
			}
			for i := range b.Specs {
				spec := &b.Specs[i]
				s.job.past.Listed(spec.Digest, spec.Number, spec.Dispatch)
			}
		}
	}
	return nil
}

// ended notes an entry by which a run ended a task by itself: an agent may still be running it. mu is held.
func (j *job) ended(e *task.Entry) {
	if e.State == task.Cancelled {
		j.stop.asked = append(j.stop.asked, e.Number)
	} else {
		j.stop.late = append(j.stop.late, e.Number)
	}
}

// digest names a submit: by function, version and input, and by how many equal ones came before it in
// this run. A former run's task of that name that has failed is another generation.
func (j *job) digest(call task.Digest, count, generation uint32) task.Digest {
	var text [len(call) + 8]byte
	copy(text[:], call[:])
	binary.BigEndian.PutUint32(text[len(call):], count)
	binary.BigEndian.PutUint32(text[len(call)+4:], generation)
	sum := sha256.Sum256(text[:])
	return task.Digest(sum[:len(call)])
}

// valueDigest names a value by its content.
func valueDigest(v *task.Value) task.Digest {
	sum := sha256.Sum256(task.AppendValue(nil, v))
	return task.Digest(sum[:len(task.Digest{})])
}

// innerDigest names a reference in a value by the value's name.
func innerDigest(outer task.Digest, index int) task.Digest {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(append([]byte("ref"), outer[:]...), uint64(index)))
	return task.Digest(sum[:len(outer)])
}

// callDigest is of what equal calls have in common: what their inputs refer to by the names that it has in all
// runs.
func callDigest(t *Template, in task.Value, deps []*Handle) task.Digest {
	h := sha256.New()
	var head []byte
	for _, part := range []string{t.Func, t.Version} {
		head = binary.AppendUvarint(head, uint64(len(part)))
		head = append(head, part...)
	}
	h.Write(append(head, byte(in.Type)))
	h.Write(in.Data)
	if o := in.Object(); o != nil {
		h.Write(o.ID[:])
	}
	for _, d := range deps {
		digest := d.digest()
		h.Write(digest[:])
	}
	return task.Digest(h.Sum(head[:0])[:len(task.Digest{})])
}

// recall finds what former runs have left of a submit, and those generations of it that failed. mu is held.
func (j *job) recall(t *Template, in task.Value, deps []*Handle) (d task.Digest, left graph.Standing, known bool, failed []graph.Standing) {
	call := callDigest(t, in, deps)
	count := j.equal[call]
	j.equal[call] = count + 1
	for generation := uint32(0); ; generation++ {
		d = j.digest(call, count, generation)
		left, known = j.past.Take(d)
		if !known || left.State == task.OK || !left.State.Final() {
			return d, left, known, failed
		}
		if left.State == task.Failed {
			failed = append(failed, left)
		}
	}
}

// valueCache reads results that former runs have recorded. A record has many of them, and they are asked
// for about in the order in which they were recorded.
type valueCache struct {
	mu      sync.Mutex
	records [16]cachedRecord // guarded by mu
	next    int              // guarded by mu; which one is replaced next
}

type cachedRecord struct {
	sequence uint64
	record   *task.Record
}

// clear forgets what was read: sequences may stand for other records now.
func (c *valueCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records = [len(c.records)]cachedRecord{}
}

// value returns the result of the task that stands there.
func (c *valueCache) value(ctx context.Context, log *queues.Log, at standing, of task.Digest) (task.Value, error) {
	rec, err := c.record(ctx, log, at.sequence)
	if err == nil && (at.index >= len(rec.Entries) || rec.Entries[at.index].Digest != of) {
		err = errNotThere // the log has gone back, and has other records now
	}
	if err != nil {
		return task.Value{}, fmt.Errorf("session: read a result recorded by a former run: %w", err)
	}
	v := rec.Entries[at.index].Value
	v.Data = append([]byte(nil), v.Data...)
	return v, nil
}

var errNotThere = errors.New("it is not where it was")

func (c *valueCache) record(ctx context.Context, log *queues.Log, sequence uint64) (*task.Record, error) {
	c.mu.Lock()
	for _, r := range c.records {
		if r.sequence == sequence {
			c.mu.Unlock()
			return r.record, nil
		}
	}
	c.mu.Unlock()
	e, err := insist(ctx, func() (queues.LogEntry, error) { return log.Get(ctx, sequence) })
	if err != nil {
		return nil, err
	}
	rec := new(task.Record)
	if err := task.DecodeRecord(e.Data, rec); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records[c.next] = cachedRecord{sequence, rec}
	c.next = (c.next + 1) % len(c.records)
	return rec, nil
}
