package nodeagent

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// Streams in files outlive the process, but the server forgets its leases with it. So nobody knows of a
// batch that was there before the boot how far it had come; the owner's log does. What is recorded of it
// does not run again. If the former boot did not end, the rest runs only after a note for each task of it;
// and where such a note stands already, with nothing behind it, the process died while they ran: they are
// lost.

// prepare readies a batch that takes more than its message: one of before this boot, of which it finds out how far
// it had come; one with tasks that were lost before, of which it notes the start; one whose inputs are to be
// brought.
func (a *Agent) prepare(b *batch) {
	again, err := false, error(nil)
	if b.delivery.Sequence <= b.level.old {
		again, err = a.dropTold(b)
	}
	if err == nil && len(b.Specs) == 0 {
		a.recorded(b)
	}
	risky := a.cfg.Unclean && b.delivery.Sequence <= b.level.old || b.wasLost()
	if err == nil && risky && !again && !b.alone() && len(b.Specs) > 0 {
		err = a.noteStarted(b)
		b.noted = true
	}
	if err != nil {
		a.cfg.Logger.Warn("nodeagent: a batch of before this boot; it comes again", "owner", b.Owner, "err", err)
	}
	brought := err != nil || again || !b.hasExternal() || a.bring(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inactive()
	switch {
	case err != nil:
		delete(b.class.held, b.delivery.Sequence)
		return
	case again:
		a.noteLost(b)
	case !brought: // the agent ends; its lease does, too
		return
	case a.draining: // it was not started
		a.handBack(b)
	case len(b.Specs) > 0:
		a.accept(b)
	}
	a.dispatch()
}

// dropTold takes the tasks out of the batch that need not run. again reports whether a start of one is noted, and
// nothing behind it: it was lost with its agent.
func (a *Agent) dropTold(b *batch) (again bool, err error) {
	told, err := a.former.told(a.base, a.broker, b.Owner)
	if err != nil {
		return false, err
	}
	b.dropEnded(told)
	return slices.ContainsFunc(b.Specs, func(s task.Spec) bool { return told.progress(s.Number).StartedLast(s.Dispatch) }), nil
}

// dropEnded takes the tasks out of the batch that have an outcome, and those of which this dispatch is over.
func (b *batch) dropEnded(told *story) {
	b.Specs = slices.DeleteFunc(b.Specs, func(s task.Spec) bool {
		return told.ended.has(s.Number) || told.progress(s.Number).Over(s.Dispatch)
	})
	b.left.Store(int64(len(b.Specs)))
}

// noteStarted appends a note for each task of the batch, and returns when all are stored.
func (a *Agent) noteStarted(b *batch) error {
	log, err := a.broker.OpenLog(a.base, a.broker.Log(b.Owner))
	if err != nil {
		return err
	}
	var w task.RecordWriter
	for i := range b.Specs {
		w.Add(noteOf(&b.Specs[i], task.Started))
		if w.Len() < maxEntries && i < len(b.Specs)-1 {
			continue
		}
		if err := log.Append(a.base, queues.Message{Data: w.Append(nil, a.cfg.NodeID, b.Owner)}); err != nil {
			return err
		}
		w.Reset()
	}
	return nil
}

// former knows what former boots have recorded, by owner.
type former struct {
	reading chan struct{}     // has a token while somebody reads
	owners  map[string]*story // only who reads
}

func newFormer() *former {
	return &former{reading: make(chan struct{}, 1), owners: map[string]*story{}}
}

// story is what an owner's log tells of tasks, by number.
type story struct {
	open  map[uint64]*graph.Progress // of tasks with notes and without an outcome
	ended numbers                    // tasks with an outcome
}

// numbers is a set of task numbers, which come in rows.
type numbers map[uint64]*[4]uint64

func (n numbers) add(number uint64) {
	page := n[number>>8]
	if page == nil {
		page = new([4]uint64)
		n[number>>8] = page
	}
	page[number>>6&3] |= 1 << (number & 63)
}

func (n numbers) has(number uint64) bool {
	page := n[number>>8]
	return page != nil && page[number>>6&3]&(1<<(number&63)) != 0
}

// told returns what the owner's log says. It is read once.
func (f *former) told(ctx context.Context, b *queues.Broker, owner string) (*story, error) {
	f.reading <- struct{}{}
	defer func() { <-f.reading }()
	if known := f.owners[owner]; known != nil {
		return known, nil
	}
	log, err := b.OpenLog(ctx, b.Log(owner))
	if err != nil {
		return nil, err
	}
	s := &story{open: map[uint64]*graph.Progress{}, ended: numbers{}}
	var rec task.Record
	for e, err := range log.Read(ctx, 0) {
		if err != nil {
			return nil, fmt.Errorf("nodeagent: what former boots have recorded of %s: %w", owner, err)
		}
		if task.DecodeRecord(e.Data, &rec) != nil {
			continue // every reader skips it
		}
		for i := range rec.Entries {
			s.note(&rec.Entries[i])
		}
	}
	f.owners[owner] = s
	return s, nil
}

func (s *story) note(e *task.Entry) {
	switch {
	case e.State.Final():
		s.ended.add(e.Number)
		delete(s.open, e.Number)
	case !s.ended.has(e.Number):
		p := s.open[e.Number]
		if p == nil {
			p = &graph.Progress{}
			s.open[e.Number] = p
		}
		p.Note(e)
	}
}

// progress returns how far a task without an outcome has come. It is not to be changed.
func (s *story) progress(number uint64) *graph.Progress {
	if p := s.open[number]; p != nil {
		return p
	}
	return &graph.Progress{}
}
