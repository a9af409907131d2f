package nodeagent

import (
	"context"
	"fmt"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// After a boot that followed no clean end, nobody knows of a batch that was there before whether it was
// started: the server has forgotten its leases with the process. So such a batch is run only after a note
// for each task of it, and if there is such a note already, with nothing behind it, the process died while
// they ran: they are lost.

// startOld finds out whether a batch of before this boot was started then.
func (a *Agent) startOld(b *batch) {
	started, err := a.former.started(a.base, a.broker, b.Owner)
	again := false
	for i := range b.Specs {
		spec := &b.Specs[i]
		again = again || started[spec.Number] == tries{spec.Attempt, spec.Losses}
	}
	if err == nil && !again {
		err = a.noteStarted(b)
	}
	if err != nil {
		a.cfg.Logger.Warn("nodeagent: a batch of before this boot; it comes again", "owner", b.Owner, "err", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inactive()
	switch {
	case err != nil:
		delete(b.class.held, b.delivery.Sequence)
		return
	case again:
		a.noteLost(b)
	case a.draining: // it was not started
		a.handBack(b)
	default:
		a.accept(b)
	}
	a.dispatch()
}

// noteStarted appends a note for each task of the batch, and returns when all are stored.
func (a *Agent) noteStarted(b *batch) error {
	log, err := a.broker.OpenLog(a.base, a.broker.Log(b.Owner))
	if err != nil {
		return err
	}
	var w task.RecordWriter
	for i := range b.Specs {
		spec := &b.Specs[i]
		w.Add(&task.Entry{Number: spec.Number, Digest: spec.Digest, State: task.Started, Attempt: spec.Attempt, Losses: spec.Losses})
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

// tries tell the dispatches of a task apart.
type tries struct{ attempt, losses int }

// former knows which tasks were started by former boots and have not ended, by owner.
type former struct {
	reading chan struct{}               // has a token while somebody reads
	owners  map[string]map[uint64]tries // only who reads
}

func newFormer() *former {
	return &former{reading: make(chan struct{}, 1), owners: map[string]map[uint64]tries{}}
}

// started returns what the owner's log says, by number. It is read once.
func (f *former) started(ctx context.Context, b *queues.Broker, owner string) (map[uint64]tries, error) {
	f.reading <- struct{}{}
	defer func() { <-f.reading }()
	if known, ok := f.owners[owner]; ok {
		return known, nil
	}
	log, err := b.OpenLog(ctx, b.Log(owner))
	if err != nil {
		return nil, err
	}
	found := map[uint64]tries{}
	var rec task.Record
	for e, err := range log.Read(ctx, 0) {
		if err != nil {
			return nil, fmt.Errorf("nodeagent: what former boots have started of %s: %w", owner, err)
		}
		if task.DecodeRecord(e.Data, &rec) != nil {
			continue // every reader skips it
		}
		for i := range rec.Entries {
			e := &rec.Entries[i]
			switch at := (tries{e.Attempt, e.Losses}); {
			case e.State == task.Started:
				found[e.Number] = at
			case e.State.Final() || found[e.Number] == at:
				delete(found, e.Number)
			}
		}
	}
	f.owners[owner] = found
	return found, nil
}
