package objstore

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/tidemill/tidemill/internal/wait"
)

// cache keeps copies of values of a remote tier in this process, up to a limit in bytes. The least recently used value is
// evicted first; pinned values are not evicted, and count towards the limit.
type cache struct {
	limit int64 // bytes

	mu      sync.Mutex
	used    int64          // guarded by mu; bytes cached or reserved
	entries map[Key]*entry // guarded by mu
	recent  list.List      // guarded by mu; the *entry without pins, the most recently used first
	freed   wait.Broadcast // guarded by mu; woken when an entry is unpinned or its bytes are freed
}

// entry is a value that is cached or being fetched.
type entry struct {
	key     Key
	size    int64         // guarded by cache.mu; bytes reserved for it, 0 once freed
	pins    int           // guarded by cache.mu
	at      *list.Element // guarded by cache.mu; in cache.recent, nil while pinned
	dropped bool          // guarded by cache.mu; its bytes are freed by the last unpin
	fetched chan struct{} // closed when data or err is set
	data    []byte        // written under cache.mu before fetched is closed, then constant
	err     error         // as data
}

func newCache(limit int64) *cache { return &cache{limit: limit, entries: map[Key]*entry{}} }

// fetcher fetches a value that is not cached. It calls reserve once, as soon as it knows the size in bytes.
type fetcher func(ctx context.Context, key Key, reserve func(size int64) error) ([]byte, error)

// get returns a value from the cache, or calls fetch: once, for all goroutines that ask meanwhile.
func (c *cache) get(ctx context.Context, key Key, fetch fetcher) (*Pin, error) {
	for {
		c.mu.Lock()
		e := c.entries[key]
		if e == nil {
			e = &entry{key: key, pins: 1, fetched: make(chan struct{})}
			c.entries[key] = e
			c.mu.Unlock()
			return c.fill(ctx, e, fetch)
		}
		c.pinLocked(e)
		c.mu.Unlock()
		select {
		case <-e.fetched:
		case <-ctx.Done():
			c.unpin(e)
			return nil, ctx.Err()
		}
		if e.err == nil {
			return NewPin(e.data, func() { c.unpin(e) }), nil
		}
		c.unpin(e)
		if errors.Is(e.err, context.Canceled) || errors.Is(e.err, context.DeadlineExceeded) { // the context of whoever fetched it ended
			if ctx.Err() == nil {
				continue
			}
		}
		return nil, e.err
	}
}

// fill fetches the value of an entry that its caller has just made, and wakes those who wait for it.
func (c *cache) fill(ctx context.Context, e *entry, fetch fetcher) (*Pin, error) {
	data, err := fetch(ctx, e.key, func(size int64) error { return c.reserve(ctx, e, size) })
	c.mu.Lock()
	e.data, e.err = data, err
	if err != nil {
		c.forgetLocked(e)
	}
	close(e.fetched)
	c.mu.Unlock()
	if err != nil {
		c.unpin(e)
		return nil, err
	}
	return NewPin(data, func() { c.unpin(e) }), nil
}

// reserve takes so many bytes of the limit for a value. It evicts others, and waits while pinned ones leave too little.
func (c *cache) reserve(ctx context.Context, e *entry, size int64) error {
	if size > c.limit {
		return TooLarge(size, c.limit)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.evictLocked(size) {
		freed := c.freed.C()
		c.mu.Unlock()
		var err error
		select {
		case <-freed:
		case <-ctx.Done():
			err = ctx.Err()
		}
		c.mu.Lock()
		if err != nil {
			return err
		}
	}
	c.used += size
	e.size = size
	return nil
}

// evictLocked evicts values until so many bytes are free, and reports whether they are.
func (c *cache) evictLocked(size int64) bool {
	for c.used+size > c.limit {
		oldest := c.recent.Back()
		if oldest == nil {
			return false
		}
		e := oldest.Value.(*entry) //nolint:forcetypeassert // recent has only entries
		c.forgetLocked(e)
		c.freeLocked(e)
	}
	return true
}

// offer caches a value that was just put, if that needs no waiting.
func (c *cache) offer(key Key, data []byte) {
	size := int64(len(data))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != nil || size > c.limit || !c.evictLocked(size) {
		return
	}
	e := &entry{key: key, data: data, size: size, fetched: make(chan struct{})}
	close(e.fetched)
	c.used += size
	c.entries[key] = e
	e.at = c.recent.PushFront(e)
}

// lookup returns a value, pinned, nil if it is not cached.
func (c *cache) lookup(key Key) *Pin {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil || e.data == nil {
		return nil
	}
	c.pinLocked(e)
	return NewPin(e.data, func() { c.unpin(e) })
}

// pinLocked keeps an entry from being evicted.
func (c *cache) pinLocked(e *entry) {
	e.pins++
	if e.at != nil {
		c.recent.Remove(e.at)
		e.at = nil
	}
}

func (c *cache) unpin(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.pins--
	switch {
	case e.pins > 0:
		return
	case e.dropped:
		c.freeLocked(e)
	default:
		e.at = c.recent.PushFront(e)
	}
	c.freed.Wake()
}

// forgetLocked takes the entry out of the index. Its bytes still count.
func (c *cache) forgetLocked(e *entry) {
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
	if e.at != nil {
		c.recent.Remove(e.at)
		e.at = nil
	}
	e.dropped = true
}

// freeLocked subtracts an entry's bytes from those in use.
func (c *cache) freeLocked(e *entry) {
	c.used -= e.size
	e.size = 0
	c.freed.Wake()
}

// drop removes values.
func (c *cache) drop(keys ...Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if e := c.entries[key]; e != nil {
			c.dropLocked(e)
		}
	}
}

// dropScope removes the values of a scope.
func (c *cache) dropScope(scope string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if key.Scope == scope {
			c.dropLocked(e)
		}
	}
}

// dropLocked removes a value. Its bytes count until its last pin is released.
func (c *cache) dropLocked(e *entry) {
	c.forgetLocked(e)
	if e.pins == 0 {
		c.freeLocked(e)
	}
}
