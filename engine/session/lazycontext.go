package session

import (
	"context"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

// lazyContext is a context that is made when somebody first asks for its channel, or cancels it: most tasks do neither.
// mu guards it; no other lock of ours is taken under that.
type lazyContext struct {
	mu   sync.Mutex
	made *madeContext // nil until it is needed
}

// neverMade stands for a context that ended before anybody asked for it. It is shared, so that tasks need no field for that,
// and never changed.
var neverMade = &madeContext{ended: true}

// madeContext is the context proper.
//
//nolint:containedctx // it is a context
type madeContext struct {
	context.Context // nil while there is only a timeout
	cancel          context.CancelCauseFunc
	stopTimer       context.CancelFunc // nil if there is no timeout
	timeout         time.Time          // zero = none
	ended           bool
}

// timeoutAt returns when the timeout ends, zero if there is none.
func (c *lazyContext) timeoutAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.timeoutLocked()
}

func (c *lazyContext) timeoutLocked() time.Time {
	if c.made == nil {
		return time.Time{}
	}
	return c.made.timeout
}

func (c *lazyContext) setTimeout(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partsLocked().timeout = at // it may have been cancelled already
}

// partsLocked returns made to be filled.
func (c *lazyContext) partsLocked() *madeContext {
	if c.made == nil || c.made == neverMade {
		c.made = &madeContext{ended: c.made == neverMade}
	}
	return c.made
}

// context returns the context proper, nil if nobody has needed it yet. Once the timeout has passed it is needed: it knows
// the cause.
func (c *lazyContext) context(base context.Context) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch m := c.made; {
	case m == nil:
		return nil
	case m.Context != nil:
		return m
	case m.ended || m.timeout.IsZero() || time.Now().Before(m.timeout):
		return nil
	}
	return c.makeLocked(base)
}

// make returns the context proper below base.
func (c *lazyContext) make(base context.Context) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.makeLocked(base)
}

func (c *lazyContext) makeLocked(base context.Context) *madeContext {
	m := c.partsLocked()
	if m.Context != nil {
		return m
	}
	if !m.timeout.IsZero() {
		base, m.stopTimer = context.WithDeadlineCause(base, m.timeout, task.ErrTimeout)
	}
	m.Context, m.cancel = context.WithCancelCause(base)
	if m.ended {
		m.cancel(nil)
	}
	return m
}

func (c *lazyContext) cancel(base context.Context, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.makeLocked(base).cancel(cause)
}

// err says why the context has ended, nil if it has not.
func (c *lazyContext) err(base context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	timeout := c.timeoutLocked()
	switch {
	case c.made != nil && c.made.Context != nil:
		return c.made.Err()
	case c.made != nil && c.made.ended:
		return context.Canceled
	case !timeout.IsZero() && !time.Now().Before(timeout):
		return context.DeadlineExceeded
	}
	return base.Err()
}

func (c *lazyContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		c.made = neverMade
	}
	m := c.made
	if m == neverMade {
		return
	}
	m.ended = true
	if m.Context == nil {
		return
	}
	m.cancel(nil)
	if m.stopTimer != nil {
		m.stopTimer()
	}
}
