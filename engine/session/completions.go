package session

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidemill/tidemill/internal/wait"
)

// Completions collects handles as they end. One goroutine takes from it.
type Completions struct {
	signal wait.Signal  // set when ready is not empty
	count  atomic.Int64 // len(ready); changed under mu
	closed atomic.Bool  // what ends later is dropped

	mu      sync.Mutex   // taken after Session.mu
	ready   []*Handle    // guarded by mu
	waiting *TaskContext // guarded by mu; the task that yields its slot until a handle is ready; nil if none does
}

// NewCompletions returns an empty collection.
func NewCompletions() *Completions { return &Completions{signal: wait.NewSignal()} }

// Watch adds handles: each comes when it ends, or at once if it has. Many at a time cost little more than one.
func (c *Completions) Watch(handles ...*Handle) {
	for len(handles) > 0 {
		s, n := handles[0].s, 1
		for n < len(handles) && n < watchStep && handles[n].s == s {
			n++
		}
		if s == nil {
			c.add(handles[:n]...)
		} else {
			s.watch(c, handles[:n])
		}
		handles = handles[n:]
	}
}

// SomeEnded returns a channel that is closed when tasks that others run may have ended, after the call. Whoever waits for
// some of very many handles looks at all of them each time, which costs less than to watch each of them.
func (s *Session) SomeEnded() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return closedChannel
	}
	return s.tracker.room.freed.C()
}

// Submitted reports whether the handle is of a task or a value of this session.
func (s *Session) Submitted(h *Handle) bool { return h.s == s }

// watchStep is how many handles are watched under one hold of the core lock.
const watchStep = 256

func (s *Session) watch(c *Completions, handles []*Handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range handles {
		switch {
		case h.ended.Load():
			c.add(h)
		case h.first == nil || h.first.closed.Load():
			h.first = c
		default:
			x := h.extras()
			x.watching = append(slices.DeleteFunc(x.watching, func(c *Completions) bool { return c.closed.Load() }), c)
		}
	}
}

func (c *Completions) add(h ...*Handle) {
	if c.closed.Load() {
		return
	}
	c.mu.Lock()
	c.ready = append(c.ready, h...)
	first := c.count.Add(int64(len(h))) == int64(len(h))
	c.reacquireLocked()
	c.mu.Unlock()
	if first {
		c.signal.Set()
	}
}

// announcement collects handles that end in one fold, so that a collection receives many at a time. The fold's goroutine
// owns it, under Session.mu.
type announcement struct {
	to      *Completions
	handles []*Handle // memory that is used again
}

// add has a handle that has ended added to the collection. The handle may be used again at once after flush.
func (a *announcement) add(c *Completions, h *Handle) {
	if a.to != c {
		a.flush()
		a.to = c
	}
	a.handles = append(a.handles, h)
}

// flush adds the handles to the collection.
func (a *announcement) flush() {
	if len(a.handles) > 0 {
		a.to.add(a.handles...)
	}
	clear(a.handles)
	a.handles, a.to = a.handles[:0], nil
}

// Len returns how many handles are ready to be taken.
func (c *Completions) Len() int { return int(c.count.Load()) }

// Take returns what has ended since the last call, in the order of ending, and uses into for it. If
// nothing has, it waits until something does or ctx ends; inside a task, it yields the slot meanwhile.
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
	if t := TaskIn(ctx); t != nil && t.Host != nil && c.startWaiting(t) {
		t.slot.yield(t)
	}
	select {
	case <-c.signal:
		return nil
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reacquireLocked()
		return ctx.Err()
	}
}

// startWaiting notes the task that waits, unless something is ready. If a stale signal has woken the task, it is noted
// already.
func (c *Completions) startWaiting(t *TaskContext) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ready) > 0 || c.waiting != nil {
		return false
	}
	c.waiting = t
	return true
}

// reacquireLocked has the task that waits take its slot back.
func (c *Completions) reacquireLocked() {
	if c.waiting != nil {
		c.waiting.slot.reacquire(c.waiting)
		c.waiting = nil
	}
}

// Close drops what will end.
func (c *Completions) Close() { c.closed.Store(true) }

// isWaitedForBy reports whether the task yields its slot until something is ready.
func (c *Completions) isWaitedForBy(t *TaskContext) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting == t
}
