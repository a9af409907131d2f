package session

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"weak"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
)

// resume makes a session a run of a named job. The program itself is the plan: each of its submits has a digest that is
// the same in every run, and what a former run has left under it is taken over.
//
// Session.mu guards it.
type resume struct {
	past     graph.Past             // what former runs have left and this one has not asked for
	open     map[task.Digest]uint64 // numbers of open tasks
	equal    map[task.Digest]uint32 // how many equal calls there were
	share    int                    // how many tasks that were lost with a former run may be in one batch
	recalled bool                   // what former runs have left is known
	decided  []decision             // what this run knows the outcomes of

	asked, late []uint64 // tasks that former runs have ended by themselves, until recalled: agents may not have been told
}

func newResume() *resume {
	return &resume{open: map[task.Digest]uint64{}, equal: map[task.Digest]uint32{}}
}

// forget forgets what former runs have left: the log is read anew.
func (r *resume) forget() { r.past, r.recalled = graph.Past{}, false }

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
	r := s.resume
	r.share = parts(r.past.Lost())
	s.cancels.addNumbers(r.asked, r.late) // a former run may have died before agents were told
	r.asked, r.late, r.recalled = nil, nil, true
	return nil
}

// listQueued notes the copies of this owner's tasks that wait in queues.
func (s *Session) listQueued(ctx context.Context) error {
	classes, err := s.classes.All(ctx)
	if err != nil {
		return err
	}
	for _, row := range classes {
		if class, level, ok := ParseClassKey(row.Key); ok {
			if err := s.listQueue(ctx, class, level); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Session) listQueue(ctx context.Context, class task.Class, level task.Level) error {
	queue, err := s.broker.OpenQueue(ctx, s.broker.Batches(string(class), string(level)))
	if err != nil {
		return err
	}
	owner := s.reader.identity().owner
	var b task.Batch
	for m, err := range queue.List(ctx) {
		if err != nil {
			return err
		}
		if m.Header.Get(ownerHeader) != owner || task.DecodeBatch(m.Data, &b) != nil {
			continue
		}
		s.mu.Lock()
		for i := range b.Specs {
			spec := &b.Specs[i]
			s.resume.past.Listed(spec.Digest, spec.Number, spec.Dispatch)
		}
		s.mu.Unlock()
	}
	return nil
}

// note folds an entry of a task that this run has not asked for, yet or any more; this run's owner may have written it.
func (r *resume) note(rec *recorded, owner string, at logPosition) {
	switch {
	case rec.State == task.Started && r.recalled: // an agent has the task now: it waits in its queue until that ends
		r.past.Listed(rec.Digest, rec.Number, rec.Dispatch)
		return
	case !rec.State.Final() || rec.writer != owner || r.recalled || !r.past.Queued(rec.Digest):
	case rec.State == task.Cancelled: // a former run has ended it by itself, and an agent may still be running it
		r.asked = append(r.asked, rec.Number)
	default:
		r.late = append(r.late, rec.Number)
	}
	r.past.Recorded(rec.Entry, rec.writer, at.sequence, at.index)
}

// recalled is what former runs have left of a submit.
type recalled struct {
	digest task.Digest
	left   graph.Standing
	known  bool
	failed []graph.Standing // former generations of the task, which have failed
}

// recall finds what former runs have left of a submit, and those generations of it that failed.
func (r *resume) recall(t *Template, in task.Value, deps []*Handle) (found recalled) {
	call := callDigest(t, in, deps)
	count := r.equal[call]
	r.equal[call] = count + 1
	for generation := uint32(0); ; generation++ {
		found.digest = taskDigest(call, count, generation)
		found.left, found.known = r.past.Take(found.digest)
		if !found.known || found.left.State == task.OK || !found.left.State.Final() {
			return found
		}
		if found.left.State == task.Failed {
			found.failed = append(found.failed, found.left)
		}
	}
}

// decision is a task of a named job that has an outcome which the program may have seen.
type decision struct {
	digest task.Digest
	number uint64
	handle weak.Pointer[Handle]
}

// decide notes that the task has its outcome.
func (r *resume) decide(h *Handle) {
	delete(r.open, h.digest())
	r.decided = append(r.decided, decision{h.digest(), h.number, weak.Make(h)})
}

// taskDigest names a submit: by function, version and input, and by how many equal ones came before it in
// this run. A former run's task of that name that has failed is another generation.
func taskDigest(call task.Digest, count, generation uint32) task.Digest {
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

// refDigest names a reference in a value by the value's name.
func refDigest(outer task.Digest, index int) task.Digest {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(append([]byte("ref"), outer[:]...), uint64(index)))
	return task.Digest(sum[:len(outer)])
}

// callDigest is of what equal calls have in common. What their inputs refer to goes in by the name that it has in all
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
