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

// Config configures a store.
type Config struct {
	// Tier is where values are stored.
	Tier Tier
	// Digests names shared values by the digest of their content, which is the same in all processes. Without it, they are
	// named by a hash of some of their bytes, with a seed of this store, and their bytes are compared.
	Digests bool
	// Cache bounds the bytes of cached values, if the tier is not in this process. 0 = no cache.
	Cache int64
}

// Store puts values into a tier and gets them from there. It is safe for concurrent use. Goroutines that get the same value
// at the same time share one transfer.
type Store struct {
	cfg   Config
	seed  uint64
	cache *cache // nil without Config.Cache
	stats counters
}

// NewStore returns a store on cfg.Tier.
func NewStore(cfg Config) *Store {
	s := &Store{cfg: cfg, seed: maphash.Bytes(maphash.MakeSeed(), nil)}
	if cfg.Cache > 0 {
		s.cache = newCache(cfg.Cache)
	}
	return s
}

// Stats counts what a store has done.
type Stats struct {
	Puts, PutBytes      int64 // values put, including shared ones
	Shared, SharedBytes int64 // of those, values that existed already and were not stored again
	Gets, Fetched       int64 // values read; bytes transferred from a tier outside of this process
	Removed             int64 // keys passed to Remove
}

type counters struct {
	puts, putBytes, shared, sharedBytes, gets, fetched, removed atomic.Int64
}

// Stats returns the counts since the store was made.
func (s *Store) Stats() Stats {
	c := &s.stats
	return Stats{
		Puts: c.puts.Load(), PutBytes: c.putBytes.Load(), Shared: c.shared.Load(), SharedBytes: c.sharedBytes.Load(),
		Gets: c.gets.Load(), Fetched: c.fetched.Load(), Removed: c.removed.Load(),
	}
}

// Put stores data, which must not be changed afterwards, under a random ID.
func (s *Store) Put(ctx context.Context, scope string, data []byte) (Key, error) {
	key := Key{scope, Fresh()}
	return key, s.PutAs(ctx, key, NewContent(data))
}

// PutShared stores a copy of data. If the scope has the same bytes already, it returns their key and copies nothing.
func (s *Store) PutShared(ctx context.Context, scope string, data []byte) (Key, error) {
	content := NewContent(data) // the copy has the same digest
	key := Key{Scope: scope}
	for _, name := range s.names() {
		key.ID = name(content)
		exists, same, err := s.lookup(ctx, key, data)
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
		if !exists {
			break
		}
	}
	content.data = clone(data)
	return key, s.PutAs(ctx, key, content)
}

// names returns the functions that name a content. They are tried in turn, until the ID is free or has this very content.
// A digest needs no second try. Without digests IDs can collide, so contents are compared; the cheap function comes first,
// since hashing all of a large value takes as long as copying it.
func (s *Store) names() []func(c *Content) ID {
	if s.cfg.Digests {
		return []func(c *Content) ID{(*Content).Digest}
	}
	return []func(c *Content) ID{s.sample, s.fingerprint, func(*Content) ID { return Fresh() }}
}

// sample names a content within this store by its length and a sample of its bytes.
func (s *Store) sample(c *Content) ID {
	h := xxh3.NewSeed(s.seed)
	size := len(c.data)
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(size))) // never fails
	for i := range samples {
		at := max(0, (size-sampleBytes)*i/(samples-1))
		_, _ = h.Write(c.data[at:min(size, at+sampleBytes)])
	}
	return nameOf(h)
}

// sample hashes this many pieces, evenly spread, of this many bytes each.
const (
	samples     = 64
	sampleBytes = 64
)

// fingerprint names a content within this store by all of its bytes.
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

// lookup reports whether the tier has the key, and whether the content there is data.
func (s *Store) lookup(ctx context.Context, key Key, data []byte) (exists, same bool, err error) {
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

// PutAs stores the content under a key that the caller chose. If the key exists already, it stores nothing.
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

// Room returns how many bytes may be pinned at once; 0 = no limit.
func (s *Store) Room() int64 { return s.cfg.Cache }

// Stat returns the value's size in bytes, or ErrNotFound.
func (s *Store) Stat(ctx context.Context, key Key) (int64, error) { return s.cfg.Tier.Stat(ctx, key) }

// Get returns the value, pinned. While pinned values fill the cache, it waits. A value larger than the cache is ErrTooLarge.
func (s *Store) Get(ctx context.Context, key Key) (*Pin, error) {
	return s.GetSized(ctx, key, anySize)
}

const anySize = -1

// GetSized is Get for a value of known size in bytes; if the size differs, it returns ErrDamaged.
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
		err = sizeError(key, int64(len(pin.Bytes())), size)
		pin.Release()
	}
	return pin, err
}

func sizeError(key Key, have, want int64) error {
	return fmt.Errorf("objstore: get %s: %w: it has %d bytes, want %d", key, ErrDamaged, have, want)
}

// fetch copies a value from the tier, once reserve has made room for it in the cache.
func (s *Store) fetch(ctx context.Context, key Key, want int64, reserve func(size int64) error) ([]byte, error) {
	size, err := s.cfg.Tier.Stat(ctx, key)
	if err == nil && want != anySize && size != want {
		err = sizeError(key, size, want)
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
	return pin.Bytes(), nil // not released: these bytes are a copy that the cache now owns
}

// ReadAt copies bytes of the value, from the offset on, into p and returns how many: fewer than len(p) at the end.
func (s *Store) ReadAt(ctx context.Context, key Key, p []byte, offset int64) (int, error) {
	if s.cache != nil {
		if pin := s.cache.lookup(key); pin != nil {
			defer pin.Release()
			return copy(p, From(pin.Bytes(), offset)), nil
		}
	}
	return s.cfg.Tier.ReadAt(ctx, key, p, offset)
}

// Remove removes values, and ignores keys that do not exist. Pins on them stay valid.
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

// RemoveScope removes all values of a scope.
func (s *Store) RemoveScope(ctx context.Context, scope string) error {
	if s.cache != nil {
		s.cache.dropScope(scope)
	}
	return s.cfg.Tier.RemoveScope(ctx, scope)
}
