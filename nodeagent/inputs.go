package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// inputs returns the task's input. Small inputs are in the batch; the bytes of others were fetched before the batch was
// accepted. Those of a child are on this node, or are being fetched for its parent, and are fetched now.
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
	fetched, x.child.Pins, why = a.fetchOne(x.Call, x.Spec, 0)
	return &fetched, why
}

// fetchAgain is how long an agent waits before it fetches an input again.
const fetchAgain = time.Second

// fetch fetches the inputs of a batch, and pins them until all of the batch is recorded. The inputs of one batch are fetched
// at a time, and no batch waits for memory that only its own pins take: so nobody waits for ever. A lost object fails its
// task; while the store does not answer, fetch tries again, under the batch's lease. It reports false if the agent ends first.
func (a *Agent) fetch(b *batch) bool {
	if a.fetching.LockContext(a.base) != nil {
		return false
	}
	defer a.fetching.Unlock()
	b.fetched = map[uint64]*task.Value{}
	kept := b.Specs[:0]
	for i := range b.Specs {
		spec := b.Specs[i]
		v, pins, why := a.fetchOne(&b.Calls[spec.Call], &spec, b.pins.Bytes)
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

// fetchOne fetches the input of one task, while so many bytes are pinned for others of the batch.
func (a *Agent) fetchOne(call *task.Call, spec *task.Spec, pinned int64) (task.Value, values.Pins, *fault) {
	for {
		v, pins, err := a.values.Fetch(a.base, spec.Input, a.values.Room()-pinned)
		failure, failed := errors.AsType[*task.Failure](err)
		switch {
		case err == nil:
			return v, pins, nil
		case failed:
			return v, pins, &fault{unbegun: true, failure: failure}
		case a.base.Err() != nil:
			return v, pins, nil
		case errors.Is(err, values.ErrNoRoom) && pinned > 0: // the owner dispatches it again, in another batch or alone
			return v, pins, &fault{refused: true}
		case errors.Is(err, values.ErrNoRoom):
			return v, pins, &fault{unbegun: true, failure: &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf(
				"an input of %d bytes in objects, and this node has memory for %d of them", spec.Input.Size(), a.values.Room())}}
		}
		a.cfg.Logger.Warn("nodeagent: fetch the input of a task; trying again", "func", call.Func, "task", spec.Number, "err", err)
		again, cancel := context.WithTimeout(a.base, fetchAgain)
		<-again.Done()
		cancel()
	}
}
