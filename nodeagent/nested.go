package nodeagent

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/wait"
)

// Tasks that tasks of this agent submit are its own session's. Those that it may run wait in that session's queues,
// and its slots look there first; see engine/session/children.go.

var _ session.Host = (*Agent)(nil)

var oneCPU = task.Resources{{Name: task.CPU, Value: 1000}}

// nestedSession is the session that owns what tasks of this agent submit. It is opened by the first of them.
type nestedSession struct {
	current atomic.Pointer[session.Session] // nil before the first
	opening wait.Lock                       // held while the session is opened, and from the agent's end on
}

// get returns the session, nil if there is none yet.
func (n *nestedSession) get() *session.Session { return n.current.Load() }

// works returns the session if it works.
func (n *nestedSession) works() (*session.Session, bool) {
	s := n.get()
	return s, s != nil && s.Err() == nil
}

// Session makes the agent a session.Host.
func (a *Agent) Session(ctx context.Context) (*session.Session, error) {
	if s, ok := a.nested.works(); ok {
		return s, nil
	}
	if err := a.nested.opening.LockContext(ctx); err != nil {
		return nil, err
	}
	defer a.nested.opening.Unlock()
	if s, ok := a.nested.works(); ok {
		return s, nil
	}
	select {
	case <-a.done:
		return nil, session.ErrClosed
	default:
	}
	if broken := a.nested.get(); broken != nil {
		broken.Abandon() // it has lost its lease: what it had open is over, and other agents see to what it has left
	}
	s, err := session.Open(ctx, a.broker, session.Config{
		Owner: a.cfg.NodeID[:min(len(a.cfg.NodeID), maxNodeName)] + "-" + strings.ToLower(rand.Text()), Boot: a.cfg.Boot, Holder: "node " + a.cfg.NodeID,
		Registry: a.cfg.Registry, LocalAgent: true, Host: a, Node: a.cfg.NodeID, Nodes: a.nodes, Logger: a.cfg.Logger, Objects: a.cfg.Objects,
	})
	if err != nil {
		return nil, fmt.Errorf("nodeagent: open the session of node %s for nested tasks: %w", a.cfg.NodeID, err)
	}
	a.nested.current.Store(s)
	return s, nil
}

// maxNodeName is how much of the node's name is in the name of its session.
const maxNodeName = 64

// closeNested ends the agent's session.
func (a *Agent) closeNested(ctx context.Context) {
	a.nested.opening.Lock() // for good
	s := a.nested.get()
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
	if a.sched.hasCapacity.Load() {
		a.dispatch()
	}
}

// Yield makes the agent a session.Host.
func (a *Agent) Yield(t *session.TaskContext) {
	x := t.Self.(*execution) //nolint:forcetypeassert // this agent has made it
	u := a.lock()
	defer u.unlock()
	a.sched.slots.Give(x.slot.class.cpus)
	a.sched.waiting.Add(1)
	u.dispatch()
	u.pullAll()
}

// Reacquire makes the agent a session.Host.
func (a *Agent) Reacquire(t *session.TaskContext) {
	x := t.Self.(*execution) //nolint:forcetypeassert // this agent has made it
	a.sched.mu.Lock()
	defer a.sched.mu.Unlock()
	a.sched.slots.Force(x.slot.class.cpus)
	a.sched.waiting.Add(-1)
	a.sched.lookForCapacity()
}

// RunInline makes the agent a session.Host.
func (a *Agent) RunInline(parent *session.TaskContext, child *session.Handle) {
	p := parent.Self.(*execution) //nolint:forcetypeassert // this agent has made it
	x := p.slot.newAttempt()
	x.Depth, x.began = parent.Depth+1, time.Since(a.began)
	if x.child = a.nested.get().TakeThisChild(child, &x.TaskContext); x.child == nil {
		return
	}
	returned := false
	defer func() {
		if !returned {
			x.exited()
		}
	}()
	var e task.Entry
	status := x.attempt(&e)
	returned = true
	switch status {
	case ended:
		x.deliver(&e)
	case awaitsRefs:
		x.deliverLater(e)
	case abandoned: // the agent ends, and so will the parent
	}
}
