package nodeagent

import (
	"context"
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
	slices.SortStableFunc(a.order, func(x, y *class) int { return x.since().Compare(y.since()) })
	scarce := map[string]bool{}
	blocked := int64(math.MaxInt64)
	for _, c := range a.order {
		for n := c.unstarted(); n > 0; n-- {
			if !a.slots.Take(c.shape, scarce) {
				if c.running == 0 {
					blocked = min(blocked, c.since().UnixNano())
				}
				break
			}
			c.running++
			a.running.Go((&slot{agent: a, class: c}).run)
		}
	}
	a.blocked.Store(blocked)
}

// since returns when the oldest batch with unstarted tasks came; a class without one comes last.
func (c *class) since() time.Time {
	if len(c.todo) == 0 {
		return time.Unix(0, math.MaxInt64)
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
		in, fn, failure := s.agent.inputs(s.batch, s.now)
		value, failure := s.execute(fn, in, failure)
		entry := s.outputs(value, failure)
		s.agent.recorder.add(s.batch, &entry)
		s.now = nil
	}
}

// claim takes the next task. It returns false when there is none, or when an older batch of another class
// waits for what this slot holds.
func (s *slot) claim() bool {
	if s.batch != nil && s.agent.blocked.Load() > s.batch.came.UnixNano() && !s.agent.recorder.stalled() {
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
	if s.batch != nil && a.blocked.Load() <= c.since().UnixNano() || a.draining || a.recorder.stalled() {
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

// execute runs the function. What is not a result is a failure: an error, a panic, an input that did not
// come.
func (s *slot) execute(fn *session.Function, in task.Value, failure error) (task.Value, error) {
	if failure != nil {
		return task.Value{}, failure
	}
	ctx := &session.Running{
		Parent: s.agent.base, Node: s.agent.cfg.NodeID, Func: fn.Name, Log: s.agent.cfg.Logger,
		Task: task.ID{Owner: s.batch.Owner, Number: s.now.Number}, Attempt: s.now.Attempt,
	}
	defer ctx.End()
	return invoke(ctx, fn, in, s.out[:0])
}

func invoke(ctx context.Context, fn *session.Function, in task.Value, dst []byte) (out task.Value, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &task.Failure{Kind: task.KindPanic, Message: fmt.Sprint(p), Stack: string(debug.Stack())}
		}
	}()
	return fn.Invoke(ctx, in, dst)
}

// end gives the slot back. A task that runs still has ended its goroutine, and so this slot: that is its
// failure.
func (s *slot) end() {
	a := s.agent
	if s.now != nil {
		entry := s.outputs(task.Value{}, &task.Failure{
			Kind: task.KindExited, Message: "the function ended its goroutine (runtime.Goexit; in a test, FailNow does)",
		})
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
