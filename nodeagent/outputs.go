package nodeagent

import (
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// outputs makes the entry of a task that ran: its result; its last failure; or a note, if it has attempts
// left or this agent cannot run it.
func (s *slot) outputs(value task.Value, why *fault) task.Entry {
	spec := s.now
	e := task.Entry{Number: spec.Number, State: task.OK, Attempt: spec.Attempt, Losses: spec.Losses, Ran: s.lap()}
	if f := session.TooLarge(value, s.agent.recorder.maxValue); why == nil && f != nil {
		why = &fault{failure: f}
	}
	switch {
	case why == nil:
		e.Value = value
		s.reuse(value.Data)
	case why.refused:
		e.State = task.Refused
	case why.retry && spec.Attempt <= s.batch.Calls[spec.Call].Retries:
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
