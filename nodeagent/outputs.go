package nodeagent

import (
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// outputs makes the entry of a task that ran: its result; its last failure; or a note, if it has attempts
// left or this agent cannot run it.
func (s *slot) outputs(value task.Value, failure error) task.Entry {
	spec := s.now
	now := time.Now() // the end of this task and the begin of the next
	e := task.Entry{Number: spec.Number, State: task.OK, Attempt: spec.Attempt, Losses: spec.Losses, Ran: now.Sub(s.begun)}
	s.begun = now
	s.ran += e.Ran
	s.runs++
	if cap(value.Data) <= scratchBytes && cap(value.Data) > cap(s.out) {
		s.out = value.Data // it has grown: let the next result have the room
	}
	if failure == nil && len(value.Data) > s.agent.recorder.maxValue {
		failure = &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf(
			"the result has %d bytes, and %d is the most: values by reference are not built yet", len(value.Data), s.agent.recorder.maxValue)}
	}
	switch {
	case failure == nil:
		e.Value = value
	case errors.Is(failure, errRefused):
		e.State = task.Refused
	default:
		e.Failure = describe(failure)
		e.State = task.Failed
		if retryable(failure, e.Failure) && spec.Attempt <= s.batch.Calls[spec.Call].Retries {
			e.State = task.Errored
		}
	}
	return e
}

// scratchBytes bounds the memory that a slot keeps for encoding results.
const scratchBytes = 64 << 10

// retryable reports whether another attempt could mend the failure.
func retryable(err error, f *task.Failure) bool {
	switch f.Kind {
	case task.KindError:
		var never *session.NonRetryable
		return !errors.As(err, &never)
	case task.KindPanic, task.KindExited:
		return true
	}
	return false // what cannot be decoded or encoded now cannot be later
}

func describe(err error) *task.Failure {
	var f *task.Failure
	if errors.As(err, &f) {
		return f
	}
	return &task.Failure{Kind: task.KindError, Message: err.Error()}
}
