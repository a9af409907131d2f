package objstore

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/tidemill/tidemill/internal/wait"
)

// cache keeps copies of values from elsewhere in this process, the least recently used go first. What is pinned
// stays, and counts.
type cache struct {
	limit int64

	mu      sync.Mutex
	used    int64 // guarded by mu; bytes kept or reserved
	entries map[Key]*entry
	recent  list.List      // guarded by mu; of *entry without pins, the most recently used first
	room    wait.Broadcast // guarded by mu; woken when an entry is unpinned or its bytes are freed
}

// entry is a value in the cache, or on its way.
type entry struct {
	key     Key
	data    []byte
	size    int64         // of data, or reserved
	pins    int           // guarded by cache.mu
	at      *list.Element // guarded by cache.mu; nil while pinned
	dropped bool          // guarded by cache.mu; goes with its last pin
	coming  chan struct{} // closed when it is there, or err says why not
	err     error
}

func newCache(limit int64) *cache { return &cache{limit: limit, entries: map[Key]*entry{}} }

// fetcher brings a value that is not in the cache. It calls reserve once, when it knows the size.
type fetcher func(ctx context.Context, key Key, reserve func(size int64) error) ([]byte, error)

// get returns a value from the cache, or has it fetched: once, for all who ask at a time.
func (c *cache) get(ctx context.Context, key Key, fetch fetcher) (*Pin, error) {
	for {
		c.mu.Lock()
		e := c.entries[key]
		if e == nil {
			e = &entry{key: key, pins: 1, coming: make(chan struct{})}
			c.entries[key] = e
			c.mu.Unlock()
			return c.bring(ctx, e, fetch)
		}
		c.pin(e)
		c.mu.Unlock()
		select {
		case <-e.coming:
		case <-ctx.Done():
			c.unpin(e)
			return nil, ctx.Err()
		}
		if e.err == nil {
			return NewPin(e.data, func() { c.unpin(e) }), nil
		}
		c.unpin(e)
		if errors.Is(e.err, context.Canceled) || errors.Is(e.err, context.DeadlineExceeded) { // it was the other's that ended
			if ctx.Err() == nil {
				continue
			}
		}
		return nil, e.err
	}
}

// bring fetches the value of an entry that others may wait for.
func (c *cache) bring(ctx context.Context, e *entry, fetch fetcher) (*Pin, error) {
	data, err := fetch(ctx, e.key, func(size int64) error { return c.reserve(ctx, e, size) })
	c.mu.Lock()
	e.data, e.err = data, err
	if err != nil {
		c.forget(e)
	}
	close(e.coming)
	c.mu.Unlock()
	if err != nil {
		c.unpin(e)
		return nil, err
	}
	return NewPin(data, func() { c.unpin(e) }), nil
}

// reserve takes room for a value, for which others go, and waits while pinned ones take it all.
func (c *cache) reserve(ctx context.Context, e *entry, size int64) error {
	if size > c.limit {
		return TooLarge(size, c.limit)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.evict(size) {
		room := c.room.C()
		c.mu.Unlock()
		var err error
		select {
		case <-room:
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

// evict makes room for so many bytes, and reports whether it could. mu is held.
func (c *cache) evict(size int64) bool {
	for c.used+size > c.limit {
		oldest := c.recent.Back()
		if oldest == nil {
			return false
		}
		e := oldest.Value.(*entry) //nolint:forcetypeassert // recent holds nothing else
		c.forget(e)
		c.free(e)
	}
	return true
}

// offer keeps a value that was just put, if there is room without waiting.
func (c *cache) offer(key Key, data []byte) {
	size := int64(len(data))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != nil || size > c.limit || !c.evict(size) {
		return
	}
	e := &entry{key: key, data: data, size: size, coming: make(chan struct{})}
	close(e.coming)
	c.used += size
	c.entries[key] = e
	e.at = c.recent.PushFront(e)
}

// look returns a value if it is there, nil if not.
func (c *cache) look(key Key) *Pin {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil || e.data == nil {
		return nil
	}
	c.pin(e)
	return NewPin(e.data, func() { c.unpin(e) })
}

// pin keeps an entry. mu is held.
func (c *cache) pin(e *entry) {
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
		c.free(e)
	default:
		e.at = c.recent.PushFront(e)
	}
	c.room.Wake()
}

// forget has the entry found no more. mu is held.
func (c *cache) forget(e *entry) {
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
	if e.at != nil {
		c.recent.Remove(e.at)
		e.at = nil
	}
	e.dropped = true
}

// free takes an entry from the account. mu is held.
func (c *cache) free(e *entry) {
	c.used -= e.size
	e.size = 0
	c.room.Wake()
}

// drop forgets values.
func (c *cache) drop(keys ...Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if e := c.entries[key]; e != nil {
			c.dropOne(e)
		}
	}
}

// dropScope forgets the values of a scope.
func (c *cache) dropScope(scope string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.entries {
		if key.Scope == scope {
			c.dropOne(e)
		}
	}
}

// dropOne forgets a value, which goes with its last pin. mu is held.
func (c *cache) dropOne(e *entry) {
	c.forget(e)
	if e.pins == 0 {
		c.free(e)
	}
}
