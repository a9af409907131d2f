package nodeagent

import (
	"context"
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// Streams in files outlive the process, but the server forgets its leases with it. So after a restart only the owner's log
// shows how far a batch from before had come. What is recorded of it does not run again. If the former boot did not end, the
// rest runs only after a note for each task of it; and where such a note stands already, with nothing behind it, the process
// died while the tasks ran: they are lost.

// readiness is what became of preparing a batch.
type readiness uint8

const (
	ready         readiness = iota // its tasks can run
	nothingToRun                   // all of its tasks have an outcome, or an entry that says why they cannot run
	lostBefore                     // it was running when its agent died
	notReady                       // an answer is missing: the server will redeliver it
	agentIsEnding                  // its lease ends with the agent's
)

// prepare readies a batch that needs more than its message, and then has it run. It is a goroutine of its own.
func (a *Agent) prepare(b *batch) {
	is := a.ready(b)
	u := a.lock()
	defer u.unlock()
	a.sched.inactive()
	switch is {
	case agentIsEnding:
		return
	case notReady:
		delete(b.class.held, b.delivery.Sequence)
		return
	case lostBefore:
		a.recordLost(b)
	case nothingToRun:
	case ready:
		if a.sched.draining { // it was not started
			u.handBack(b)
		} else {
			u.accept(b)
		}
	}
	u.dispatch()
}

// ready readies a batch: one from before this boot, of which it finds out how far it had come; one with tasks that were
// lost before, of which it notes the start; one whose inputs are to be fetched.
func (a *Agent) ready(b *batch) readiness {
	isOld := b.delivery.Sequence <= b.level.oldUpTo
	if isOld {
		switch lost, err := a.dropRecorded(b); {
		case err != nil:
			return a.notReady(b, err)
		case len(b.Specs) == 0:
			a.recorded(b)
			return nothingToRun
		case lost:
			return lostBefore
		}
	}
	if (isOld && a.cfg.Unclean || b.losses() > 0) && !b.alone() {
		if err := a.recordStarted(b); err != nil {
			return a.notReady(b, err)
		}
		b.noted = true
	}
	switch {
	case b.hasExternal() && !a.fetch(b):
		return agentIsEnding
	case len(b.Specs) == 0:
		return nothingToRun
	}
	return ready
}

func (a *Agent) notReady(b *batch, err error) readiness {
	a.cfg.Logger.Warn("nodeagent: prepare a batch; the server will redeliver it", "class", b.Class, "owner", b.Owner, "err", err)
	return notReady
}

// dropRecorded takes the tasks out of the batch that need not run. lost reports whether a start of one of the others is
// noted, and nothing behind it: it was lost with its agent.
func (a *Agent) dropRecorded(b *batch) (lost bool, err error) {
	past, err := a.former.of(a.base, a.broker, b.Owner)
	if err != nil {
		return false, err
	}
	b.dropEnded(past)
	for i := range b.Specs {
		lost = lost || past.progress(b.Specs[i].Number).StartedLast(b.Specs[i].Dispatch)
	}
	return lost, nil
}

// dropEnded takes the tasks out of the batch that have an outcome, and those of which this dispatch is over.
func (b *batch) dropEnded(past *replay) {
	b.Specs = slices.DeleteFunc(b.Specs, func(s task.Spec) bool {
		return past.ended.has(s.Number) || past.progress(s.Number).Over(s.Dispatch)
	})
	b.left.Store(int64(len(b.Specs)))
}

// recordStarted appends a note for each task of the batch, and returns when all are stored.
func (a *Agent) recordStarted(b *batch) error {
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

// formerBoots knows what agents of former boots have recorded, by owner.
type formerBoots struct {
	reading wait.Lock          // held while a log is read
	owners  map[string]*replay // guarded by reading
}

func newFormerBoots() *formerBoots {
	return &formerBoots{reading: wait.NewLock(), owners: map[string]*replay{}}
}

// replay is what an owner's log says of its tasks, by number.
type replay struct {
	open  map[uint64]*graph.Progress // of tasks with notes and without an outcome
	ended numbers                    // tasks with an outcome
}

// numbers is a set of task numbers, which are often consecutive.
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

// of returns what the owner's log says. It is read once.
func (f *formerBoots) of(ctx context.Context, b *queues.Broker, owner string) (*replay, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	if known := f.owners[owner]; known != nil {
		return known, nil
	}
	log, err := b.OpenLog(ctx, b.Log(owner))
	if err != nil {
		return nil, err
	}
	r := &replay{open: map[uint64]*graph.Progress{}, ended: numbers{}}
	var rec task.Record
	for e, err := range log.Read(ctx, 0) {
		if err != nil {
			return nil, fmt.Errorf("nodeagent: read what former boots have recorded of %s: %w", owner, err)
		}
		if task.DecodeRecord(e.Data, &rec) != nil {
			continue // every reader skips it
		}
		for i := range rec.Entries {
			r.fold(&rec.Entries[i])
		}
	}
	f.owners[owner] = r
	return r, nil
}

// fold notes an entry.
func (r *replay) fold(e *task.Entry) {
	switch {
	case e.State.Final():
		r.ended.add(e.Number)
		delete(r.open, e.Number)
	case !r.ended.has(e.Number):
		p := r.open[e.Number]
		if p == nil {
			p = &graph.Progress{}
			r.open[e.Number] = p
		}
		p.Note(e)
	}
}

// progress returns how far a task without an outcome has come. It is not to be changed.
func (r *replay) progress(number uint64) *graph.Progress {
	if p := r.open[number]; p != nil {
		return p
	}
	return &graph.Progress{}
}
