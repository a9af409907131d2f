package nodeagent

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

// timedOut is called at the end of the attempt's timeout: its context has ended, and most functions return soon.
func (x *execution) timedOut() {
	time.AfterFunc(x.slot.agent.cfg.Grace, x.abandon)
	x.cancelChildren()
}

// Abort makes the execution a session.Attempt.
func (x *execution) Abort(why *task.Failure) { x.abort(&fault{cancelled: true, failure: why}) }

// cancelChildren cancels what the attempt has submitted, since it is to end itself.
func (x *execution) cancelChildren() {
	if s := x.slot.agent.nested.get(); s != nil {
		s.CancelChildren(&x.TaskContext)
	}
}

// abort ends the context of an attempt that is not wanted any more.
func (x *execution) abort(why *fault) {
	if !x.unwantedFor.CompareAndSwap(nil, why) {
		return
	}
	x.Cancel(why.failure)
	time.AfterFunc(x.slot.agent.cfg.Grace, x.abandon)
}

// abandon gives up an attempt that ignores that its context has ended. Code in this process cannot be killed, so
// its slot is lost until the function returns by itself; the task goes on without it.
func (x *execution) abandon() {
	s := x.slot
	if !s.current.CompareAndSwap(x, nil) {
		return // it has ended
	}
	a := s.agent
	var entry task.Entry
	x.finish(&entry, x.judge(&fault{retry: true, failure: &task.Failure{
		Kind: task.KindTimeout, Message: "the function ignores that its context has ended, and was abandoned",
	}}))
	if until := x.TimeoutAt(); !until.IsZero() {
		entry.Ran = x.Call.Timeout + time.Since(until)
	}
	x.Finish()
	x.finishChildren(nil)
	x.deliver(&entry)
	u := a.lock()
	defer u.unlock()
	a.sched.lost++
	a.sched.retire(s)
	a.cfg.Logger.Error("nodeagent: a task ignores that its context has ended; it is abandoned, and its slot is lost until it returns",
		"func", x.Call.Func, "task", x.ID(), "attempt", x.Spec.Attempt, "slots lost", a.sched.lost)
	u.dispatch()
}

// judge returns the failure of an attempt: of one that was to end, the reason for that. Of one that took too long, what its
// function returned is told beside: it may say that another attempt would not avoid it.
func (x *execution) judge(why *fault) *fault {
	if why == nil || why.refused {
		return why
	}
	until := x.TimeoutAt()
	switch unwanted := x.unwantedFor.Load(); {
	case unwanted != nil:
		return unwanted
	case !until.IsZero() && !time.Now().Before(until):
		failure := *why.failure
		failure.Kind, failure.Message = task.KindTimeout, fmt.Sprintf("the attempt took longer than %s: %s", x.Call.Timeout, failure.Message)
		return &fault{retry: why.retry, failure: &failure}
	}
	return why
}
