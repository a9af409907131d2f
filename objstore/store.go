package objstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"

	"github.com/zeebo/xxh3"
)

// Config says what a store is made of.
type Config struct {
	// Tier is where values are kept.
	Tier Tier
	// Digests has shared values known by the digest of their content, which other processes find too. Without it
	// they are known in this process alone, by a glance at some of their bytes, and are compared.
	Digests bool
	// Cache bounds the bytes that are kept in this process of values from a tier elsewhere. 0 = none: the tier is
	// in this process itself.
	Cache int64
}

// Store puts values into a tier and brings them back. It is safe for concurrent use. Goroutines that ask for
// one value at a time share one transfer.
type Store struct {
	cfg   Config
	seed  uint64
	cache *cache // nil if there is none
	stats counters
}

// NewStore returns a store.
func NewStore(cfg Config) *Store {
	s := &Store{cfg: cfg, seed: maphash.Bytes(maphash.MakeSeed(), nil)}
	if cfg.Cache > 0 {
		s.cache = newCache(cfg.Cache)
	}
	return s
}

// Stats say what a store has done.
type Stats struct {
	Puts, PutBytes     int64 // values that were put
	Shared, SharedByte int64 // of those, values that were there already, and so are kept once
	Gets, Fetched      int64 // values that were read; bytes that came from a tier elsewhere
	Removed            int64 // values
}

type counters struct {
	puts, putBytes, shared, sharedBytes, gets, fetched, removed atomic.Int64
}

// Stats returns what the store has done so far.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{
		Puts: c.puts.Load(), PutBytes: c.putBytes.Load(), Shared: c.shared.Load(), SharedByte: c.sharedBytes.Load(),
		Gets: c.gets.Load(), Fetched: c.fetched.Load(), Removed: c.removed.Load(),
	}
}

// Put keeps data, which must not be changed any more, under a fresh ID.
func (s *Store) Put(ctx context.Context, scope string, data []byte) (Key, error) {
	key := Key{scope, Fresh()}
	return key, s.PutAs(ctx, key, NewContent(data))
}

// PutShared keeps a copy of data; the same bytes in the same scope are kept once, and then not copied.
func (s *Store) PutShared(ctx context.Context, scope string, data []byte) (Key, error) {
	content := NewContent(data) // the digest is that of the copy, too
	key := Key{Scope: scope}
	for _, name := range s.names() {
		key.ID = name(content)
		there, same, err := s.there(ctx, key, data)
		switch {
		case err != nil:
			return key, err
		case same:
			s.stats.puts.Add(1)
			s.stats.putBytes.Add(int64(len(data)))
			s.stats.shared.Add(1)
			s.stats.sharedBytes.Add(int64(len(data)))
			return key, nil
		}
		if !there {
			break
		}
	}
	content.data = clone(data)
	return key, s.PutAs(ctx, key, content)
}

// names are the ways to name a content, to be tried in turn until one names this content or nothing. A digest names
// nothing else. The others do, so that contents are compared before they are taken for the same; the cheap one comes
// first, since reading a large value takes as long as copying it.
func (s *Store) names() []func(c *Content) ID {
	if s.cfg.Digests {
		return []func(c *Content) ID{(*Content).Digest}
	}
	return []func(c *Content) ID{s.glance, s.fingerprint, func(*Content) ID { return Fresh() }}
}

// glance names a content within this process by its length and some of its bytes.
func (s *Store) glance(c *Content) ID {
	h := xxh3.NewSeed(s.seed)
	size := len(c.data)
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(size))) // it never fails
	for i := range glances {
		at := max(0, (size-glanced)*i/(glances-1))
		_, _ = h.Write(c.data[at:min(size, at+glanced)])
	}
	return nameOf(h)
}

// A glance reads so many places, so many bytes each.
const (
	glances = 64
	glanced = 64
)

// fingerprint names a content within this process by all of its bytes.
func (s *Store) fingerprint(c *Content) ID {
	sums := make([]Sum, Count(int64(len(c.data))))
	each(len(sums), func(i int) { sums[i] = Sum(xxh3.Hash128Seed(LeafOf(c.data, i), s.seed).Bytes()) })
	h := xxh3.NewSeed(s.seed)
	for _, sum := range sums {
		_, _ = h.Write(sum[:])
	}
	return nameOf(h)
}

func nameOf(h *xxh3.Hasher) (id ID) {
	sum := h.Sum128().Bytes()
	copy(id[:], sum[:])
	return id
}

// there reports whether the tier has the key, and whether it has this content.
func (s *Store) there(ctx context.Context, key Key, data []byte) (there, same bool, err error) {
	if s.cfg.Digests {
		_, err = s.cfg.Tier.Stat(ctx, key)
		same = err == nil
	} else {
		var pin *Pin
		if pin, err = s.cfg.Tier.Get(ctx, key); err == nil {
			defer pin.Release()
			same = bytes.Equal(pin.Bytes(), data)
		}
	}
	if errors.Is(err, ErrNotFound) {
		return false, false, nil
	}
	return err == nil, same, err
}

// PutAs keeps the content under a key that the caller chose; one that is there already is left as it is.
func (s *Store) PutAs(ctx context.Context, key Key, content *Content) error {
	if err := s.cfg.Tier.Put(ctx, key, content); err != nil {
		return err
	}
	s.stats.puts.Add(1)
	s.stats.putBytes.Add(int64(len(content.Bytes())))
	if s.cache != nil {
		s.cache.offer(key, content.Bytes())
	}
	return nil
}

// Room returns how many bytes may be pinned at once; 0 = as many as there are.
func (s *Store) Room() int64 { return s.cfg.Cache }

// Stat returns how many bytes the value has, or ErrNotFound.
func (s *Store) Stat(ctx context.Context, key Key) (int64, error) { return s.cfg.Tier.Stat(ctx, key) }

// Get returns the value, pinned. It waits for room in the cache; a value that is larger than the cache is ErrTooLarge.
func (s *Store) Get(ctx context.Context, key Key) (*Pin, error) {
	return s.GetSized(ctx, key, anySize)
}

const anySize = -1

// GetSized is as Get, of a value that has so many bytes, or is ErrDamaged.
func (s *Store) GetSized(ctx context.Context, key Key, size int64) (pin *Pin, err error) {
	s.stats.gets.Add(1)
	if s.cache == nil {
		pin, err = s.cfg.Tier.Get(ctx, key)
	} else {
		pin, err = s.cache.get(ctx, key, func(ctx context.Context, key Key, reserve func(size int64) error) ([]byte, error) {
			return s.fetch(ctx, key, size, reserve)
		})
	}
	if err == nil && size != anySize && int64(len(pin.Bytes())) != size {
		err = missized(key, int64(len(pin.Bytes())), size)
		pin.Release()
	}
	return pin, err
}

func missized(key Key, have, want int64) error {
	return fmt.Errorf("objstore: get %s: %w: it has %d bytes, not %d", key, ErrDamaged, have, want)
}

// fetch brings a value from the tier, once reserve has found room for it.
func (s *Store) fetch(ctx context.Context, key Key, want int64, reserve func(size int64) error) ([]byte, error) {
	size, err := s.cfg.Tier.Stat(ctx, key)
	if err == nil && want != anySize && size != want {
		err = missized(key, size, want)
	}
	if err != nil {
		return nil, err
	}
	if err := reserve(size); err != nil {
		return nil, fmt.Errorf("objstore: get %s: %w", key, err)
	}
	pin, err := s.cfg.Tier.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	s.stats.fetched.Add(size)
	return pin.Bytes(), nil // of a tier elsewhere: in memory of its own
}

// ReadAt fills p from the value's offset on, and returns how much it has filled: less than len(p) at the end.
func (s *Store) ReadAt(ctx context.Context, key Key, p []byte, offset int64) (int, error) {
	if s.cache != nil {
		if pin := s.cache.look(key); pin != nil {
			defer pin.Release()
			return copy(p, From(pin.Bytes(), offset)), nil
		}
	}
	return s.cfg.Tier.ReadAt(ctx, key, p, offset)
}

// Remove forgets values. Pins stay good.
func (s *Store) Remove(ctx context.Context, keys ...Key) error {
	if s.cache != nil {
		s.cache.drop(keys...)
	}
	err := s.cfg.Tier.Remove(ctx, keys...)
	if err == nil {
		s.stats.removed.Add(int64(len(keys)))
	}
	return err
}

// RemoveScope forgets all values of a scope.
func (s *Store) RemoveScope(ctx context.Context, scope string) error {
	if s.cache != nil {
		s.cache.dropScope(scope)
	}
	return s.cfg.Tier.RemoveScope(ctx, scope)
}
