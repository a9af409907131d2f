package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// inputs returns the task's input. Small ones travel in the batch; the bytes of others were fetched before that was
// accepted. Those of a child are on this node, or on their way to it for its parent, and are fetched now.
func (a *Agent) inputs(x *execution) (in *task.Value, why *fault) {
	in = &x.Spec.Input
	if x.batch != nil {
		if fetched := x.batch.fetched[x.Spec.Number]; fetched != nil {
			in = fetched
		}
		return in, nil
	}
	if in.IsInline() {
		return in, nil
	}
	var fetched task.Value
	fetched, x.child.Pins, why = a.fetchOne(x.Spec, 0)
	return &fetched, why
}

// fetchAgain is how long an agent waits before it asks again for an input that the store did not bring.
const fetchAgain = time.Second

// fetch fetches the inputs of a batch, and pins them until all of it is recorded. One batch's are fetched at a time,
// and none waits for room that only its own pins could give: so nobody waits for ever. What is lost fails its task;
// what may come later is waited for, under the lease. It reports false if the agent ends first.
func (a *Agent) fetch(b *batch) bool {
	if a.fetching.LockContext(a.base) != nil {
		return false
	}
	defer a.fetching.Unlock()
	b.fetched = map[uint64]*task.Value{}
	kept := b.Specs[:0]
	for i := range b.Specs {
		spec := b.Specs[i]
		v, pins, why := a.fetchOne(&spec, b.pins.Bytes)
		b.pins.Add(pins)
		if a.base.Err() != nil {
			b.pins.Release()
			return false
		}
		if why != nil {
			var e task.Entry
			finish(&e, &spec, b.Calls[spec.Call].Retries, why)
			a.recorder.add(b, &e)
			continue
		}
		b.fetched[spec.Number] = &v
		kept = append(kept, spec)
	}
	b.Specs = kept
	return true
}

// fetchOne fetches the input of one task, beside so many bytes that are pinned for others.
func (a *Agent) fetchOne(spec *task.Spec, pinned int64) (task.Value, values.Pins, *fault) {
	for {
		v, pins, err := a.values.Fetch(a.base, spec.Input, a.values.Room()-pinned)
		failure, failed := errors.AsType[*task.Failure](err)
		switch {
		case err == nil:
			return v, pins, nil
		case failed:
			return v, pins, &fault{failure: failure}
		case a.base.Err() != nil:
			return v, pins, nil
		case errors.Is(err, values.ErrNoRoom) && pinned > 0: // it comes again, with others or alone
			return v, pins, &fault{refused: true}
		case errors.Is(err, values.ErrNoRoom):
			return v, pins, &fault{failure: &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf(
				"an input of %d bytes in objects, and this node has memory for %d of them", spec.Input.Size(), a.values.Room())}}
		}
		a.cfg.Logger.Warn("nodeagent: bring an input; trying again", "task", spec.Number, "err", err)
		again, cancel := context.WithTimeout(a.base, fetchAgain)
		<-again.Done()
		cancel()
	}
}
