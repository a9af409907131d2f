package session

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Completions collects handles as they end. One goroutine takes from it.
type Completions struct {
	signal chan struct{} // has a token when ready is not empty
	count  atomic.Int64  // len(ready); changed under mu
	closed atomic.Bool   // what ends later is dropped

	mu    sync.Mutex   // taken after a session's
	ready []*Handle    // guarded by mu
	lent  *TaskContext // guarded by mu; the task that lends its slot until there is something; nil if none does
}

// NewCompletions returns an empty collection.
func NewCompletions() *Completions { return &Completions{signal: make(chan struct{}, 1)} }

// Watch adds a handle: it comes when it ends, or at once if it has.
func (c *Completions) Watch(h *Handle) {
	if h.s == nil {
		c.add(h)
		return
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	switch {
	case h.ended.Load():
		c.add(h)
	case h.first == nil || h.first.closed.Load():
		h.first = c
	default:
		r := h.rarely()
		r.watchers = append(slices.DeleteFunc(r.watchers, func(c *Completions) bool { return c.closed.Load() }), c)
	}
}

func (c *Completions) add(h ...*Handle) {
	if c.closed.Load() {
		return
	}
	c.mu.Lock()
	c.ready = append(c.ready, h...)
	first := c.count.Add(int64(len(h))) == int64(len(h))
	c.resume()
	c.mu.Unlock()
	if first {
		select {
		case c.signal <- struct{}{}:
		default:
		}
	}
}

// tellOf tells a collection of a handle that has ended; of those in a fold, of many at a time. The handle may be used again
// at once. mu is held.
func (s *Session) tellOf(c *Completions, h *Handle) {
	if !s.folding {
		c.add(h)
		return
	}
	if s.tellTo != c {
		s.tellAll()
		s.tellTo = c
	}
	s.telling = append(s.telling, h)
}

// tellAll tells what was put off. mu is held.
func (s *Session) tellAll() {
	if len(s.telling) > 0 {
		s.tellTo.add(s.telling...)
	}
	clear(s.telling)
	s.telling, s.tellTo = s.telling[:0], nil
}

// Len returns how many handles are ready to be taken.
func (c *Completions) Len() int { return int(c.count.Load()) }

// Take returns what has ended since the last call, in the order of ending, and uses into for it. If
// nothing has, it waits until something does or ctx ends; inside a task, it lends the slot meanwhile.
func (c *Completions) Take(ctx context.Context, into []*Handle) ([]*Handle, error) {
	for {
		c.mu.Lock()
		out := c.ready
		if len(out) > 0 {
			c.ready = into[:0]
			c.count.Add(int64(-len(out)))
		}
		c.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// wait returns when something may have ended.
func (c *Completions) wait(ctx context.Context) error {
	select {
	case <-c.signal:
		return nil
	default:
	}
	c.lend(TaskIn(ctx))
	select {
	case <-c.signal:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.resume()
		return ctx.Err()
	}
}

// lend has the task that waits lend its slot until there is something.
func (c *Completions) lend(r *TaskContext) {
	if r == nil || r.Host == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) == 0 && c.lent == nil { // it may have woken for what was taken already
		c.lent = r
		r.lend()
	}
}

// resume takes the slot back. mu is held.
func (c *Completions) resume() {
	if c.lent != nil {
		c.lent.resume()
		c.lent = nil
	}
}

// Close drops what will end.
func (c *Completions) Close() { c.closed.Store(true) }

// isLentBy reports whether the task has lent its slot until something comes.
func (c *Completions) isLentBy(r *TaskContext) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lent == r
}
