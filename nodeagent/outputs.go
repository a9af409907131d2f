package nodeagent

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// outputs makes the entry of a task that ran, whose result is in the entry already, unless the result refers to tasks without
// an outcome.
func (x *execution) outputs(e *task.Entry, why *fault) attemptStatus {
	e.Ran = x.lap()
	refers := x.ResultRefs()
	if why != nil {
		refers = nil
	}
	x.finishChildren(refers)
	if why == nil && x.child == nil {
		x.slot.reuse(e.Value.Data)
	}
	if len(refers) > 0 && !session.AllEnded(refers) {
		e.Value.Data = bytes.Clone(e.Value.Data) // the slot goes on
		return awaitsRefs
	}
	if why == nil && len(refers) > 0 {
		e.Value, why = x.resolveRefs(e.Value, refers)
	}
	x.complete(e, why)
	return ended
}

// finishChildren cancels the children of the attempt, but for those to which its result refers.
func (x *execution) finishChildren(result []*session.Handle) {
	if s := x.slot.agent.nested.get(); s != nil {
		s.FinishChildren(&x.TaskContext, result)
	}
}

// complete fills in what is to be recorded of an attempt: its result, which is in the entry, or why there is none.
func (x *execution) complete(e *task.Entry, why *fault) {
	if why == nil {
		why = x.store(&e.Value)
	}
	x.finish(e, why)
}

// finish says in the entry what became of the attempt. How long it ran, and its result, are there already.
func (x *execution) finish(e *task.Entry, why *fault) { finish(e, x.Spec, x.Call.Retries, why) }

// resolveRefs returns the result with the outcomes of the tasks to which it refers, failures too.
func (x *execution) resolveRefs(value task.Value, refers []*session.Handle) (task.Value, *fault) {
	v, err := x.slot.agent.nested.get().ResolveRefs(x.slot.agent.base, value, refers)
	if err != nil {
		return v, faultOf(err)
	}
	return v, nil
}

// deliverLater delivers the result when all tasks to which it refers have ended. The slot goes on meanwhile.
func (x *execution) deliverLater(e task.Entry) {
	a := x.slot.agent
	a.sched.mu.Lock()
	a.sched.active++
	a.sched.pending[x] = true
	a.sched.mu.Unlock()
	go x.awaitRefs(e)
}

func (x *execution) awaitRefs(e task.Entry) {
	a := x.slot.agent
	if x.refsEnded() {
		var why *fault
		e.Value, why = x.resolveRefs(e.Value, x.ResultRefs())
		x.complete(&e, x.judge(why))
		x.deliver(&e)
	}
	u := a.lock()
	defer u.unlock()
	delete(a.sched.pending, x)
	a.sched.inactive()
	u.dispatch()
}

// refsEnded waits for all tasks to which the result refers. It reports false if the agent ends before.
func (x *execution) refsEnded() bool {
	for _, h := range x.ResultRefs() {
		if h != nil && h.Wait(x.slot.agent.base) != nil {
			return false
		}
	}
	return true
}

// store puts what is too large of a result for a record into the store, under its owner's scope.
func (x *execution) store(value *task.Value) *fault {
	a := x.slot.agent
	if a.values.Fits(value) {
		return nil
	}
	var err error
	if x.batch != nil && value.External != nil {
		*value, err = x.moved(a.base, *value)
	}
	if err == nil {
		*value, err = a.values.Fit(a.base, x.scope(), *value, false)
	}
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*task.Failure](err); ok {
		return &fault{failure: f}
	}
	return &fault{retry: true, failure: &task.Failure{Kind: task.KindOutput, Message: "keep the result: " + err.Error()}}
}

// scope is whose objects those of the result are.
func (x *execution) scope() string {
	if x.batch != nil {
		return x.batch.ObjectScope()
	}
	return x.slot.agent.nested.get().Scope()
}

// moved returns the value without objects of this agent's session, with their bytes instead: such objects are removed when
// the session ends, and the task's owner may live longer.
func (x *execution) moved(ctx context.Context, v task.Value) (task.Value, error) {
	s := x.slot.agent.nested.get()
	if s == nil {
		return v, nil
	}
	return x.slot.agent.values.Without(ctx, s.Scope(), v)
}

// finish says in the entry of an attempt that it has a result, its last failure, or a note, if it has attempts left or
// this agent cannot run it.
func finish(e *task.Entry, spec *task.Spec, retries int, why *fault) {
	e.Number, e.Digest, e.Dispatch = spec.Number, spec.Digest, spec.Dispatch
	e.State, e.Failure, e.Unbegun = task.OK, nil, false
	if why == nil {
		return
	}
	e.Value, e.Unbegun = task.Value{}, why.unbegun
	switch {
	case why.refused:
		e.State = task.Refused
	case why.cancelled:
		e.State, e.Failure = task.Cancelled, why.failure
	case why.late:
		e.State, e.Failure = task.Failed, why.failure
	case why.retry && int(spec.Attempt) <= retries:
		e.State, e.Failure = task.Errored, why.failure
	default:
		e.State, e.Failure = task.Failed, why.failure
	}
}

// lap returns how long the task ran. In a slot, the next task begins when it ends.
func (x *execution) lap() time.Duration {
	s := x.slot
	now := time.Since(s.agent.began)
	if x.began > 0 {
		return now - x.began
	}
	ran := now - time.Duration(s.taskBegan.Swap(int64(now)))
	if x.batch != nil {
		s.ran += ran
		s.runs++
	}
	return ran
}

// scratchBytes bounds the memory that a slot keeps for encoding results.
const scratchBytes = 64 << 10

// reuse keeps the memory of a result for the next one, if it is larger than what the slot has.
func (s *slot) reuse(data []byte) {
	if cap(data) <= scratchBytes && cap(data) > cap(s.out) {
		s.out = data
	}
}
