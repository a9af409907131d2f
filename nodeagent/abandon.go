package nodeagent

import (
	"fmt"
	"sync/atomic"
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

	revoked atomic.Pointer[fault] // why it is not wanted any more; nil if it is
}

// timedOut is called at the end of the attempt's timeout: its context has ended. A function that heeds
// that returns soon.
func (x *execution) timedOut() { time.AfterFunc(x.slot.agent.cfg.Grace, x.abandon) }

// revoke ends the context of an attempt that is not wanted any more.
func (x *execution) revoke(why *fault) {
	if !x.revoked.CompareAndSwap(nil, why) {
		return
	}
	x.Cancel(why.failure)
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
	entry := finish(x.batch, x.spec, x.judge(&fault{failure: &task.Failure{Kind: task.KindTimeout, Message: "abandoned"}}))
	if !x.Until.IsZero() {
		entry.Ran = x.batch.Calls[x.spec.Call].Timeout + time.Since(x.Until)
	}
	a.recorder.add(x.batch, &entry)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost++
	a.retire(s)
	a.cfg.Logger.Error("nodeagent: a task ignores that its context has ended; it is abandoned, and its slot is lost until it returns",
		"func", x.Func, "task", x.Task, "attempt", x.Attempt, "slots lost", a.lost)
	a.dispatch()
}

// judge says what the failure is of an attempt that was to end: not its own.
func (x *execution) judge(why *fault) *fault {
	switch revoked := x.revoked.Load(); {
	case why == nil || why.refused:
		return why
	case revoked != nil:
		return revoked
	case !x.Until.IsZero() && !time.Now().Before(x.Until):
		timeout := x.batch.Calls[x.spec.Call].Timeout
		return &fault{retry: true, failure: &task.Failure{
			Kind: task.KindTimeout, Message: fmt.Sprintf("the attempt took longer than %s: %s", timeout, why.failure.Message), Stack: why.failure.Stack,
		}}
	}
	return why
}
