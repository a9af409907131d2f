package nodeagent

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// Tasks that tasks of this agent submit are its own session's. Those that it may run wait in that session's lists,
// and its slots look there first; see engine/session/children.go.

var _ session.Host = (*Agent)(nil)

// Session makes the agent a session.Host.
func (a *Agent) Session(ctx context.Context) (*session.Session, error) {
	if s := a.nested.Load(); s != nil && s.Err() == nil {
		return s, nil
	}
	select {
	case a.opening <- struct{}{}:
		defer func() { <-a.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s := a.nested.Load(); s != nil && s.Err() == nil {
		return s, nil
	}
	select {
	case <-a.done:
		return nil, session.ErrClosed
	default:
	}
	if broken := a.nested.Load(); broken != nil {
		broken.Abandon() // it has lost its lease: what it had open is over, and other agents see to what it has left
	}
	s, err := session.Open(ctx, a.broker, session.Config{
		Owner: a.cfg.NodeID[:min(len(a.cfg.NodeID), mostOfNode)] + "-" + strings.ToLower(rand.Text()), Boot: a.cfg.Boot, Holder: "node " + a.cfg.NodeID,
		Local: a.cfg.Registry, Registry: a.cfg.Registry, Host: a, Node: a.cfg.NodeID, Nodes: a.nodes, Logger: a.cfg.Logger, Objects: a.cfg.Objects,
	})
	if err != nil {
		return nil, fmt.Errorf("nodeagent: a session for the tasks of tasks: %w", err)
	}
	a.nested.Store(s)
	return s, nil
}

// mostOfNode is how much of the node's name its session's has.
const mostOfNode = 64

// closeNested ends the agent's session.
func (a *Agent) closeNested(ctx context.Context) {
	a.opening <- struct{}{} // for good
	s := a.nested.Load()
	if s == nil {
		return
	}
	if err := s.End(ctx); err != nil {
		a.cfg.Logger.Warn("nodeagent: end the session of the node", "node", a.cfg.NodeID, "err", err)
	}
	s.Close()
}

// WakeSlot makes the agent a session.Host.
func (a *Agent) WakeSlot() {
	if !a.hungry.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dispatch()
}

// Yield makes the agent a session.Host.
func (a *Agent) Yield(r *session.TaskContext) {
	x := r.Self.(*execution) //nolint:forcetypeassert // this agent has made it
	a.mu.Lock()
	defer a.unlock()
	a.slots.Give(x.slot.class.lent)
	a.waiting.Add(1)
	a.dispatch()
	for _, c := range a.order {
		a.ask(c)
	}
}

// Reacquire makes the agent a session.Host.
func (a *Agent) Reacquire(r *session.TaskContext) {
	x := r.Self.(*execution) //nolint:forcetypeassert // this agent has made it
	a.mu.Lock()
	defer a.mu.Unlock()
	a.slots.Force(x.slot.class.lent)
	a.waiting.Add(-1)
	a.lookForRoom()
}

// RunInline makes the agent a session.Host.
func (a *Agent) RunInline(parent *session.TaskContext, child *session.Handle) {
	p := parent.Self.(*execution) //nolint:forcetypeassert // this agent has made it
	x := p.slot.newAttempt()
	x.Depth, x.begun = parent.Depth+1, time.Since(a.begun)
	if x.child = a.nested.Load().TakeThisChild(child, &x.TaskContext); x.child == nil {
		return
	}
	returned := false
	defer func() {
		if !returned {
			x.exited()
		}
	}()
	var e task.Entry
	is := x.attempt(&e)
	returned = true
	switch is {
	case over:
		x.deliver(&e)
	case unsettled:
		x.settleLater(e)
	case notOurs: // the agent ends, and so will the parent
	}
}

// fewWaiting is up to how many tasks may wait while slots take the oldest children, which are the largest. With more,
// they take the newest, so that those are done first for which somebody waits.
const fewWaiting = 16

// claimChild takes a child of the slot's class.
func (s *slot) claimChild() bool {
	nested := s.agent.nested.Load()
	if nested == nil || s.class.children().Len() == 0 || s.agent.recorder.stalled() {
		return false
	}
	x := s.newAttempt()
	x.child = nested.TakeChild(s.class.children(), s.agent.waiting.Load() < fewWaiting, &x.TaskContext)
	if x.child == nil {
		return false
	}
	s.now = x
	return true
}

// children are those of the class that wait, of the agent's session.
func (c *class) children() *session.LocalQueue {
	if s := c.agent.nested.Load(); s != nil {
		return s.LocalQueue(c.name)
	}
	return &noChildren
}

var noChildren session.LocalQueue

// mostWaiting is how many tasks may wait for others. With more, the agent takes nothing but children.
const mostWaiting = 256

// childrenOnly reports whether nothing but children is to be started, which others wait for. mu is held.
func (a *Agent) childrenOnly() bool {
	return a.draining || a.hasAlone() || a.waiting.Load() > mostWaiting
}

// takes reports whether tasks of the level are drawn and started. mu is held.
func (a *Agent) takes(level task.Level) bool {
	return !a.childrenOnly() || level == task.Child && (a.waiting.Load() > 0 || len(a.unsettled) > 0)
}

// startable returns how many tasks there are that could be started. Agent.mu is held.
func (c *class) startable(only bool) int {
	n := c.children().Len()
	for _, l := range c.levels {
		if l != nil && (!only || c.agent.takes(l.name)) {
			n += l.unstarted()
		}
	}
	return n
}

// An agent that has CPUs for which there is nothing here to be run tells the others, if it stays so for a moment; and
// again, ever more rarely, since what was given away for it may have come to somebody else.
const idleFor = 20 * time.Millisecond

var oneCPU = task.Resources{{Name: task.CPU, Value: 1000}}

// lookForIdle sees whether there is room for more: for a child that comes, and for what others have too much of. mu is held.
func (a *Agent) lookForIdle() {
	a.lookForRoom()
	free := a.slots.Free(oneCPU) > 0
	if free && !a.spare && a.nodes.Count() > 1 && a.base.Err() == nil {
		a.idle = idleFor
		a.idleTimer.Reset(a.idle)
	}
	a.spare = free
}

// lookForRoom sees whether another task could begin. mu is held.
func (a *Agent) lookForRoom() {
	a.hungry.Store(slices.ContainsFunc(a.order, func(c *class) bool { return a.slots.Room(c.shape) }))
}

// tellIdle has the node's row say that it has room, if it still has.
func (a *Agent) tellIdle() {
	if a.idleCPUs() == 0 {
		return
	}
	select {
	case a.kick <- struct{}{}:
	default:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.idle *= 2; a.idle < directory.BeatEvery && a.base.Err() == nil {
		a.idleTimer.Reset(a.idle)
	}
}

// idleCPUs returns how many CPUs are free with nothing here to be run.
func (a *Agent) idleCPUs() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.childrenOnly() {
		return 0
	}
	for _, c := range a.order {
		if c.startable(false) > 0 {
			return 0
		}
	}
	return a.slots.Free(oneCPU)
}
