package nodeagent

import (
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// execution is one attempt that runs: the function's context, and what is needed to end the attempt from outside.
type execution struct {
	session.TaskContext
	batch *batch         // that the task came in; nil for a child
	child *session.Child // of a task of this agent; nil for what came in a batch
	slot  *slot
	began time.Duration // since the agent began; 0: when the slot's last task ended

	unwantedFor atomic.Pointer[fault] // why the attempt is not wanted any more; nil while it is
}

// newAttempt returns an attempt in a slot. The caller sets the task.
func (s *slot) newAttempt() *execution {
	x := &execution{slot: s, TaskContext: session.TaskContext{ExecEnv: s.class.env}}
	x.Self = x
	return x
}

// attemptStatus says what became of an attempt.
type attemptStatus int

const (
	ended      attemptStatus = iota // there is an entry
	awaitsRefs                      // its result refers to tasks without an outcome
	abandoned                       // the agent has given it up
)

// attempt runs the task, and writes to e what is to be recorded.
func (x *execution) attempt(e *task.Entry) attemptStatus {
	a := x.slot.agent
	e.Ran = 0
	if why := x.unwanted(); why != nil {
		why.unbegun = true
		x.finish(e, why)
		return ended
	}
	in, why := a.inputs(x)
	fn := x.function()
	if fn == nil {
		why = &fault{refused: true}
	}
	if why != nil {
		x.finish(e, why)
		return ended
	}
	why, ours := x.execute(fn, in, &e.Value)
	if !ours {
		return abandoned
	}
	return x.outputs(e, why)
}

// function returns the function to be called, nil if this agent does not know it.
func (x *execution) function() *registry.Function {
	s := x.slot
	if x.Depth > 0 { // not on the slot's goroutine
		return s.agent.cfg.Registry.Lookup(x.Call.Func)
	}
	if s.called != x.Call || s.fn == nil { // a name is registered once
		s.called, s.fn = x.Call, s.agent.cfg.Registry.Lookup(x.Call.Func)
	}
	return s.fn
}

// unwanted returns why the task is not to be started, nil if it is. The session cancels unwanted children itself.
func (x *execution) unwanted() *fault {
	if x.batch == nil {
		return nil
	}
	return x.slot.agent.owners.unwanted(x.batch.Owner, x.Spec.Number)
}

// execute runs the function, whose result goes to out. ours is false if the agent has given the attempt up meanwhile.
func (x *execution) execute(fn *registry.Function, in, out *task.Value) (why *fault, ours bool) {
	s := x.slot
	if timeout := x.Call.Timeout; timeout > 0 {
		x.SetTimeout(time.Now().Add(timeout))
		timer := time.AfterFunc(timeout, x.timedOut)
		defer timer.Stop()
	}
	defer x.End()
	outermost := x.Depth == 0
	if outermost {
		s.current.Store(x)
	}
	if why := x.unwanted(); why != nil { // this may have changed since it was last looked at
		x.abort(why)
	}
	why = x.judge(invoke(&x.TaskContext, fn, in, x.scratch(), out))
	x.join(why)
	x.Finish()
	ours = !outermost || s.current.CompareAndSwap(x, nil)
	if ours && why != nil && s.agent.ending.Load() && !why.cancelled && !why.late {
		if outermost { // it may have failed because the agent has ended its context: the next agent runs it again
			s.left = true
		}
		return nil, false
	}
	return why, ours
}

// join waits for what other goroutines of the task run in its slot.
func (x *execution) join(why *fault) {
	s := x.slot.agent.nested.get()
	if s == nil {
		return
	}
	refers := x.ResultRefs()
	if why != nil {
		refers = nil
	}
	x.JoinInline(s, refers)
}

// scratch returns the memory in which the result is encoded; it is copied before the slot goes on. A child has memory of its
// own, since other goroutines of its parent may use the slot's, and it belongs to the child's owner afterwards.
func (x *execution) scratch() []byte {
	if x.child != nil {
		return nil
	}
	return x.slot.out[:0]
}

// deliver tells the task's owner of the attempt's end.
func (x *execution) deliver(e *task.Entry) {
	if x.child != nil {
		x.slot.agent.nested.get().ChildEnded(x.child, e)
		x.child.Pins.Release()
		return
	}
	x.slot.agent.recorder.add(x.batch, e)
}

// exited delivers the failure of a task that has ended its goroutine.
func (x *execution) exited() {
	x.join(&fault{})
	x.Finish()
	var e task.Entry
	x.outputs(&e, &fault{retry: true, failure: &task.Failure{
		Kind: task.KindExited, Message: "the function ended its goroutine (runtime.Goexit; in a test, FailNow does)",
	}})
	x.deliver(&e)
}
