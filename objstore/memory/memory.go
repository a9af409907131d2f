package memory

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/objstore"
)

// Config bounds a tier.
type Config struct {
	Limit      int64         // of all values, in bytes; 0 = 1 GiB
	PutTimeout time.Duration // how long Put waits for space; 0 = 30 s
}

// Tier stores values in memory. A removed value counts towards the limit until its last pin is released.
type Tier struct {
	cfg Config

	mu     sync.Mutex
	scopes map[string]map[objstore.ID]*value // guarded by mu
	used   int64                             // guarded by mu; bytes, including removed values with pins
	freed  wait.Broadcast                    // guarded by mu; woken when bytes are freed
}

// value is the value of one key.
type value struct {
	data    []byte // set to nil under Tier.mu once removed and unpinned
	pins    int    // guarded by Tier.mu
	removed bool   // guarded by Tier.mu
}

// New returns an empty tier.
func New(cfg Config) *Tier {
	if cfg.Limit == 0 {
		cfg.Limit = 1 << 30
	}
	if cfg.PutTimeout == 0 {
		cfg.PutTimeout = 30 * time.Second
	}
	return &Tier{cfg: cfg, scopes: map[string]map[objstore.ID]*value{}}
}

var _ objstore.Tier = (*Tier)(nil)

// Used returns how many bytes are in use, and the limit.
func (t *Tier) Used() (used, limit int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used, t.cfg.Limit
}

// Put implements objstore.Tier. It stores the content without a copy.
func (t *Tier) Put(ctx context.Context, key objstore.Key, content *objstore.Content) error {
	data := content.Bytes()
	size := int64(len(data))
	if size > t.cfg.Limit {
		return fmt.Errorf("memory: put %s: %w", key, objstore.TooLarge(size, t.cfg.Limit))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.awaitLocked(ctx, key, size); err != nil {
		return fmt.Errorf("memory: put %s of %d bytes: %w", key, size, err)
	}
	if t.findLocked(key) != nil {
		return nil
	}
	scope := t.scopes[key.Scope]
	if scope == nil {
		scope = map[objstore.ID]*value{}
		t.scopes[key.Scope] = scope
	}
	scope[key.ID] = &value{data: data}
	t.used += size
	return nil
}

// awaitLocked waits until so many bytes are free, or the key exists. It unlocks mu while it waits.
func (t *Tier) awaitLocked(ctx context.Context, key objstore.Key, size int64) error {
	if t.findLocked(key) != nil || t.used+size <= t.cfg.Limit {
		return nil
	}
	timeout := time.NewTimer(t.cfg.PutTimeout)
	defer timeout.Stop()
	for t.findLocked(key) == nil && t.used+size > t.cfg.Limit {
		freed := t.freed.C()
		t.mu.Unlock()
		runtime.GC() // references that became garbage may hold values: their cleanups remove them
		var err error
		select {
		case <-freed:
		case <-ctx.Done():
			err = ctx.Err()
		case <-timeout.C:
			err = objstore.ErrNoRoom
		}
		t.mu.Lock()
		if err != nil {
			return fmt.Errorf("%w: %d of %d bytes are in use", err, t.used, t.cfg.Limit)
		}
	}
	return nil
}

func (t *Tier) findLocked(key objstore.Key) *value { return t.scopes[key.Scope][key.ID] }

// Stat implements objstore.Tier.
func (t *Tier) Stat(_ context.Context, key objstore.Key) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.findLocked(key)
	if v == nil {
		return 0, fmt.Errorf("memory: stat %s: %w", key, objstore.ErrNotFound)
	}
	return int64(len(v.data)), nil
}

// Get implements objstore.Tier. It copies nothing.
func (t *Tier) Get(_ context.Context, key objstore.Key) (*objstore.Pin, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.findLocked(key)
	if v == nil {
		return nil, fmt.Errorf("memory: get %s: %w", key, objstore.ErrNotFound)
	}
	v.pins++
	return objstore.NewPin(v.data, func() { t.unpin(v) }), nil
}

func (t *Tier) unpin(v *value) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v.pins--
	t.freeLocked(v)
}

// freeLocked frees a value's bytes once it is removed and has no pins.
func (t *Tier) freeLocked(v *value) {
	if !v.removed || v.pins > 0 {
		return
	}
	t.used -= int64(len(v.data))
	v.data = nil
	t.freed.Wake()
}

// ReadAt implements objstore.Tier.
func (t *Tier) ReadAt(ctx context.Context, key objstore.Key, p []byte, offset int64) (int, error) {
	pin, err := t.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	defer pin.Release()
	return copy(p, objstore.From(pin.Bytes(), offset)), nil
}

// Remove implements objstore.Tier.
func (t *Tier) Remove(_ context.Context, keys ...objstore.Key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		t.removeLocked(key)
	}
	return nil
}

func (t *Tier) removeLocked(key objstore.Key) {
	v := t.findLocked(key)
	if v == nil {
		return
	}
	scope := t.scopes[key.Scope]
	delete(scope, key.ID)
	if len(scope) == 0 {
		delete(t.scopes, key.Scope)
	}
	v.removed = true
	t.freeLocked(v)
}

// RemoveScope implements objstore.Tier.
func (t *Tier) RemoveScope(_ context.Context, scope string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.scopes[scope] {
		t.removeLocked(objstore.Key{Scope: scope, ID: id})
	}
	return nil
}
