package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// execution is one attempt that runs: the function's context, and what must be known to end it from
// outside.
type execution struct {
	session.Running
	slot  *slot
	batch *batch
	spec  *task.Spec
	timer *time.Timer // of the timeout; nil if there is none
}

// timedOut is called at the end of the attempt's timeout: its context has ended. A function that heeds
// that returns soon.
func (x *execution) timedOut() { time.AfterFunc(x.slot.agent.cfg.Grace, x.abandon) }

// revoke ends the context of an attempt whose task is cancelled.
func (x *execution) revoke() {
	x.Cancel(task.ErrCancelled)
	time.AfterFunc(x.slot.agent.cfg.Grace, x.abandon)
}

// abandon gives an attempt up that ignores its ended context. Code in this process cannot be killed, so
// its slot is lost until it returns by itself; the task goes on without it.
func (x *execution) abandon() {
	s := x.slot
	if !s.current.CompareAndSwap(x, nil) {
		return // it has ended
	}
	a := s.agent
	why := x.judge(&fault{retry: true, failure: &task.Failure{Kind: task.KindCancelled, Message: "abandoned"}})
	entry := finish(x.batch, x.spec, why)
	a.recorder.add(x.batch, &entry)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost++
	a.retire(s)
	a.cfg.Logger.Error("nodeagent: a task ignores that its context has ended; it is abandoned, and its slot is lost until it returns",
		"func", x.Func, "task", x.Task, "attempt", x.Attempt, "slots lost", a.lost)
	a.dispatch()
}

// judge says what an attempt's failure is that was to end: after its timeout the timeout's, and after a
// cancellation nobody asks.
func (x *execution) judge(why *fault) *fault {
	if why == nil || why.refused {
		return why
	}
	switch cause := context.Cause(&x.Running); {
	case errors.Is(cause, task.ErrTimeout) || !x.Until.IsZero() && !time.Now().Before(x.Until):
		timeout := x.batch.Calls[x.spec.Call].Timeout
		return &fault{retry: true, failure: &task.Failure{
			Kind: task.KindTimeout, Message: fmt.Sprintf("the attempt took longer than %s: %s", timeout, why.failure.Message), Stack: why.failure.Stack,
		}}
	case errors.Is(cause, task.ErrCancelled):
		return &fault{cancelled: true, failure: why.failure}
	}
	return why
}
