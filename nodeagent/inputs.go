package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// inputs returns what the task needs: its input and its function, nil if this agent does not have it.
// Small inputs travel in the batch; the bytes of others were brought before it was accepted.
func (a *Agent) inputs(b *batch, spec *task.Spec) (task.Value, *session.Function) {
	in := spec.Input
	if brought, ok := b.brought[spec.Number]; ok {
		in = brought
	}
	return in, a.cfg.Registry.Lookup(b.Calls[spec.Call].Func)
}

// isFar reports whether bytes of the batch's inputs are to be brought.
func (b *batch) isFar() bool {
	return slices.ContainsFunc(b.Specs, func(s task.Spec) bool { return s.Input.Far != nil || s.Input.Type == task.Bundle })
}

// fetchAgain is how long an agent waits before it asks again for an input that the store did not bring.
const fetchAgain = time.Second

// bring brings the inputs of a batch, and pins them until all of it is recorded. One batch's are brought at a time,
// and none waits for room that only its own pins could give: so nobody waits for ever. What is lost fails its task;
// what may come later is waited for, under the lease. It reports false if the agent ends first.
func (a *Agent) bring(b *batch) bool {
	select {
	case a.fetching <- struct{}{}:
	case <-a.base.Done():
		return false
	}
	defer func() { <-a.fetching }()
	b.brought = map[uint64]task.Value{}
	kept := b.Specs[:0]
	for i := range b.Specs {
		spec := b.Specs[i]
		v, why := a.bringOne(b, &spec)
		if a.base.Err() != nil {
			b.pins.Release()
			return false
		}
		if why != nil {
			e := finish(b, &spec, why)
			a.recorder.add(b, &e)
			continue
		}
		b.brought[spec.Number] = v
		kept = append(kept, spec)
	}
	b.Specs = kept
	return true
}

// bringOne brings the input of one task of a batch.
func (a *Agent) bringOne(b *batch, spec *task.Spec) (task.Value, *fault) {
	for {
		v, pins, err := a.values.Fetch(a.base, spec.Input, a.values.Room()-b.pins.Bytes)
		failure, failed := errors.AsType[*task.Failure](err)
		switch {
		case err == nil:
			b.pins.Add(pins)
			return v, nil
		case failed:
			return v, &fault{failure: failure}
		case a.base.Err() != nil:
			return v, nil
		case errors.Is(err, session.ErrNoRoom) && b.pins.Bytes > 0: // it comes again, with others or alone
			return v, &fault{refused: true}
		case errors.Is(err, session.ErrNoRoom):
			return v, &fault{failure: &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf(
				"an input of %d bytes in objects, and this node has memory for %d of them", spec.Input.Size(), a.values.Room())}}
		}
		a.cfg.Logger.Warn("nodeagent: bring an input; trying again", "task", spec.Number, "err", err)
		again, cancel := context.WithTimeout(a.base, fetchAgain)
		<-again.Done()
		cancel()
	}
}
