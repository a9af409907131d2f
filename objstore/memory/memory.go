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

// Config bounds a shelf.
type Config struct {
	Limit    int64         // bytes; 0 = 1 GiB
	Patience time.Duration // for how long Put waits for room; 0 = 30 s
}

// Shelf keeps values in memory. A value that was removed counts until its last pin is released.
type Shelf struct {
	cfg Config

	mu     sync.Mutex
	scopes map[string]map[objstore.ID]*value // guarded by mu
	used   int64                             // guarded by mu; bytes, of removed values with pins too
	room   wait.Broadcast                    // guarded by mu; woken when bytes are freed
}

// value is what one key has.
type value struct {
	data []byte
	pins int  // guarded by Shelf.mu
	gone bool // guarded by Shelf.mu; removed
}

// New returns an empty shelf.
func New(cfg Config) *Shelf {
	if cfg.Limit == 0 {
		cfg.Limit = 1 << 30
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	return &Shelf{cfg: cfg, scopes: map[string]map[objstore.ID]*value{}}
}

var _ objstore.Tier = (*Shelf)(nil)

// Used returns how many bytes are taken, and how many may be.
func (s *Shelf) Used() (used, limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, s.cfg.Limit
}

// Put makes the shelf an objstore.Tier. It keeps the content's own bytes.
func (s *Shelf) Put(ctx context.Context, key objstore.Key, content *objstore.Content) error {
	data := content.Bytes()
	size := int64(len(data))
	if size > s.cfg.Limit {
		return fmt.Errorf("memory: put %s: %w", key, objstore.TooLarge(size, s.cfg.Limit))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.await(ctx, key, size); err != nil {
		return fmt.Errorf("memory: put %s of %d bytes: %w", key, size, err)
	}
	if s.find(key) != nil {
		return nil
	}
	scope := s.scopes[key.Scope]
	if scope == nil {
		scope = map[objstore.ID]*value{}
		s.scopes[key.Scope] = scope
	}
	scope[key.ID] = &value{data: data}
	s.used += size
	return nil
}

// await waits until there is room for so many bytes, or the key is there. mu is held, and given up while
// waiting.
func (s *Shelf) await(ctx context.Context, key objstore.Key, size int64) error {
	if s.find(key) != nil || s.used+size <= s.cfg.Limit {
		return nil
	}
	patience := time.NewTimer(s.cfg.Patience)
	defer patience.Stop()
	for s.find(key) == nil && s.used+size > s.cfg.Limit {
		room := s.room.C()
		s.mu.Unlock()
		runtime.GC() // what nobody refers to any more may be what takes the room
		var err error
		select {
		case <-room:
		case <-ctx.Done():
			err = ctx.Err()
		case <-patience.C:
			err = objstore.ErrNoRoom
		}
		s.mu.Lock()
		if err != nil {
			return fmt.Errorf("%w: %d of %d bytes are taken", err, s.used, s.cfg.Limit)
		}
	}
	return nil
}

func (s *Shelf) find(key objstore.Key) *value { return s.scopes[key.Scope][key.ID] }

// Stat makes the shelf an objstore.Tier.
func (s *Shelf) Stat(_ context.Context, key objstore.Key) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.find(key)
	if v == nil {
		return 0, fmt.Errorf("memory: stat %s: %w", key, objstore.ErrNotFound)
	}
	return int64(len(v.data)), nil
}

// Get makes the shelf an objstore.Tier. It copies nothing.
func (s *Shelf) Get(_ context.Context, key objstore.Key) (*objstore.Pin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.find(key)
	if v == nil {
		return nil, fmt.Errorf("memory: get %s: %w", key, objstore.ErrNotFound)
	}
	v.pins++
	return objstore.NewPin(v.data, func() { s.unpin(v) }), nil
}

func (s *Shelf) unpin(v *value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.pins--
	s.freed(v)
}

// freed takes a value from the account, if nobody has it any more. mu is held.
func (s *Shelf) freed(v *value) {
	if !v.gone || v.pins > 0 {
		return
	}
	s.used -= int64(len(v.data))
	v.data = nil
	s.room.Wake()
}

// ReadAt makes the shelf an objstore.Tier.
func (s *Shelf) ReadAt(ctx context.Context, key objstore.Key, p []byte, offset int64) (int, error) {
	pin, err := s.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	defer pin.Release()
	return copy(p, objstore.From(pin.Bytes(), offset)), nil
}

// Remove makes the shelf an objstore.Tier.
func (s *Shelf) Remove(_ context.Context, keys ...objstore.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		s.remove(key)
	}
	return nil
}

func (s *Shelf) remove(key objstore.Key) {
	v := s.find(key)
	if v == nil {
		return
	}
	scope := s.scopes[key.Scope]
	delete(scope, key.ID)
	if len(scope) == 0 {
		delete(s.scopes, key.Scope)
	}
	v.gone = true
	s.freed(v)
}

// RemoveScope makes the shelf an objstore.Tier.
func (s *Shelf) RemoveScope(_ context.Context, scope string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.scopes[scope] {
		s.remove(objstore.Key{Scope: scope, ID: id})
	}
	return nil
}
