package nodeagent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/objstore"
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

// bring brings the inputs of a batch, and pins them until all of it is recorded. One batch's are brought at a time:
// so two never wait for each other's room. What is lost fails its task; what may come later is waited for, under
// the lease. It reports false if the agent ends first.
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
		v, pins, failure := a.bringOne(&spec)
		if a.base.Err() != nil {
			session.Unpin(pins)
			return false
		}
		if failure != nil {
			e := finish(b, &spec, &fault{failure: failure})
			a.recorder.add(b, &e)
			continue
		}
		b.brought[spec.Number], b.pins = v, append(b.pins, pins...)
		kept = append(kept, spec)
	}
	b.Specs = kept
	return true
}

func (a *Agent) bringOne(spec *task.Spec) (v task.Value, pins []*objstore.Pin, failure *task.Failure) {
	for {
		v, pins, err := a.values.Fetch(a.base, spec.Input)
		switch {
		case err == nil:
			return v, pins, nil
		case errors.As(err, &failure):
			return v, nil, failure
		case a.base.Err() != nil:
			return v, nil, nil
		}
		a.cfg.Logger.Warn("nodeagent: bring an input; trying again", "task", spec.Number, "err", err)
		again, cancel := context.WithTimeout(a.base, fetchAgain)
		<-again.Done()
		cancel()
	}
}
