package nodeagent

import (
	"errors"
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

// outputs makes the entry of a task that ran.
func (s *slot) outputs(value task.Value, why *fault) task.Entry {
	ran := s.lap()
	if why == nil {
		s.reuse(value.Data)
		value, why = s.store(value)
	}
	e := finish(s.batch, s.now, why)
	e.Ran = ran
	if why == nil {
		e.Value = value
	}
	return e
}

// store puts what is too large of a result for a record into the store, under its owner's scope.
func (s *slot) store(value task.Value) (task.Value, *fault) {
	fit, err := s.agent.values.Fit(s.agent.base, s.batch.ObjectScope(), value, false)
	if err == nil {
		return fit, nil
	}
	if f, ok := errors.AsType[*task.Failure](err); ok {
		return fit, &fault{failure: f}
	}
	return fit, &fault{retry: true, failure: &task.Failure{Kind: task.KindOutput, Message: "keep the result: " + err.Error()}}
}

// finish makes the entry of an attempt: its result, without the value; its last failure; or a note, if it
// has attempts left or this agent cannot run it.
func finish(b *batch, spec *task.Spec, why *fault) task.Entry {
	e := task.Entry{Number: spec.Number, Digest: spec.Digest, State: task.OK, Attempt: spec.Attempt, Losses: spec.Losses}
	switch {
	case why == nil:
	case why.refused:
		e.State = task.Refused
	case why.cancelled:
		e.State, e.Failure = task.Cancelled, why.failure
	case why.late:
		e.State, e.Failure = task.Failed, why.failure
	case why.retry && spec.Attempt <= b.Calls[spec.Call].Retries:
		e.State, e.Failure = task.Errored, why.failure
	default:
		e.State, e.Failure = task.Failed, why.failure
	}
	return e
}

// lap returns how long the task ran. Its end is the begin of the next.
func (s *slot) lap() time.Duration {
	now := time.Now()
	ran := now.Sub(s.begun)
	s.begun = now
	s.ran += ran
	s.runs++
	return ran
}

// scratchBytes bounds the memory that a slot keeps for encoding results.
const scratchBytes = 64 << 10

// reuse keeps the memory of a result for the next one, if it has grown.
func (s *slot) reuse(data []byte) {
	if cap(data) <= scratchBytes && cap(data) > cap(s.out) {
		s.out = data
	}
}
