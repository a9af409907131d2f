package nodeagent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// dispatch starts slots for what is held, the class with the oldest batch first. What that class lacks is
// kept for it: a younger class does not take it away, or large shapes would never run beside small ones.
// mu is held.
func (a *Agent) dispatch() {
	if a.draining || a.recorder.stalled() {
		return
	}
	slices.SortStableFunc(a.order, func(x, y *class) int { return cmp.Compare(x.since(), y.since()) })
	scarce := map[string]bool{}
	blocked := time.Duration(math.MaxInt64)
	for _, c := range a.order {
		for n := c.unstarted(); n > 0; n-- {
			if !a.slots.Take(c.shape, scarce) {
				if c.running == 0 {
					blocked = min(blocked, c.since())
				}
				break
			}
			c.running++
			a.running.Go((&slot{agent: a, class: c}).run)
		}
	}
	a.blocked.Store(int64(blocked))
}

// since returns when the oldest batch with unstarted tasks came; a class without one comes last.
func (c *class) since() time.Duration {
	if len(c.todo) == 0 {
		return math.MaxInt64
	}
	return c.todo[0].came
}

// slot runs tasks of one class, one after the other, for as long as there are any. It holds the
// resources of one task.
type slot struct {
	agent *Agent
	class *class
	batch *batch
	now   *task.Spec // the task that runs, nil between tasks
	begun time.Time
	ran   time.Duration // since the class's mean was told
	runs  int
	out   []byte // where results are encoded, used again
}

// run is a task's way through the agent, again and again.
func (s *slot) run() {
	defer s.end()
	s.begun = time.Now()
	for s.claim() {
		in, fn := s.agent.inputs(s.batch, s.now)
		value, fault := s.execute(fn, in)
		entry := s.outputs(value, fault)
		s.agent.recorder.add(s.batch, &entry)
		s.now = nil
	}
}

// claim takes the next task. It returns false when there is none, or when an older batch of another class
// waits for what this slot holds.
func (s *slot) claim() bool {
	if s.batch != nil && s.agent.blocked.Load() > int64(s.batch.came) && !s.agent.recorder.stalled() {
		if s.now = s.batch.start(); s.now != nil {
			return true
		}
	}
	return s.claimNext()
}

// start takes a spec of the batch to run, nil if all were taken. Slots share a batch by this counter
// alone, so that each gets as much as it can do.
func (b *batch) start() *task.Spec {
	if i := b.next.Add(1) - 1; i < int64(len(b.Specs)) {
		return &b.Specs[i]
	}
	return nil
}

// claimNext goes on to the oldest batch held, and asks for more.
func (s *slot) claimNext() bool {
	a, c := s.agent, s.class
	a.mu.Lock()
	defer a.mu.Unlock()
	s.learn()
	if s.batch != nil && a.blocked.Load() <= int64(c.since()) || a.draining || a.recorder.stalled() {
		return false
	}
	for len(c.todo) > 0 {
		s.batch = c.todo[0]
		if s.now = s.batch.start(); s.now != nil {
			return true
		}
		c.todo[0] = nil
		c.todo = c.todo[1:]
	}
	a.ask(c)
	return false
}

// learn tells the class how long its tasks run. Agent.mu is held.
func (s *slot) learn() {
	if s.runs == 0 {
		return
	}
	mean := max(1, s.ran/time.Duration(s.runs))
	if s.class.mean == 0 {
		s.class.mean = mean
	}
	s.class.mean += (mean - s.class.mean) / 4
	s.ran, s.runs = 0, 0
}

// fault says why a task has no result.
type fault struct {
	failure *task.Failure
	retry   bool // another attempt could mend it
	refused bool // this agent cannot run it, and another one might: no failure
}

// execute runs the function.
func (s *slot) execute(fn *session.Function, in task.Value) (task.Value, *fault) {
	if fn == nil {
		return task.Value{}, &fault{refused: true}
	}
	ctx := &session.Running{
		Parent: s.agent.base, Node: s.agent.cfg.NodeID, Func: fn.Name, Log: s.agent.cfg.Logger,
		Task: task.ID{Owner: s.batch.Owner, Number: s.now.Number}, Attempt: s.now.Attempt,
	}
	defer ctx.End()
	return invoke(ctx, fn, in, s.out[:0])
}

// invoke calls the function. All code of its author runs below the recover: the function, its types'
// encodings, and the methods of the error that it returns.
func invoke(ctx context.Context, fn *session.Function, in task.Value, dst []byte) (out task.Value, why *fault) {
	defer func() {
		if p := recover(); p != nil {
			out = task.Value{}
			why = &fault{retry: true, failure: &task.Failure{Kind: task.KindPanic, Message: printed(p), Stack: string(debug.Stack())}}
		}
	}()
	out, err := fn.Invoke(ctx, in, dst)
	if err != nil {
		return task.Value{}, faultOf(err)
	}
	return out, nil
}

// printed returns what was panicked with, in words.
func printed(p any) (text string) {
	defer func() {
		if recover() != nil { // fmt catches most, but a method may end in any way
			text = fmt.Sprintf("a %T that cannot be printed", p)
		}
	}()
	return fmt.Sprint(p)
}

// faultOf describes an error that the function, or its encoding, returned.
func faultOf(err error) *fault {
	var f *task.Failure
	if errors.As(err, &f) && f != nil {
		return &fault{failure: f} // of an encoding: what cannot be decoded now cannot be later
	}
	var never *session.NonRetryable
	return &fault{
		failure: &task.Failure{Kind: task.KindError, Message: err.Error()},
		retry:   !errors.As(err, &never),
	}
}

// end gives the slot back. A task that runs still has ended its goroutine, and so this slot: that is its
// failure.
func (s *slot) end() {
	a := s.agent
	if s.now != nil {
		entry := s.outputs(task.Value{}, &fault{retry: true, failure: &task.Failure{
			Kind: task.KindExited, Message: "the function ended its goroutine (runtime.Goexit; in a test, FailNow does)",
		}})
		a.recorder.add(s.batch, &entry)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.learn()
	s.class.running--
	a.slots.Give(s.class.shape)
	a.ask(s.class)
	a.dispatch()
}

// resume goes on after the recorder had stalled.
func (a *Agent) resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dispatch()
}
