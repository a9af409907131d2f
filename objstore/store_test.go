package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/memory"
)

// stores returns a store for each of the two ways to name shared values.
func stores() map[string]*objstore.Store {
	return map[string]*objstore.Store{
		"by fingerprint": objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})}),
		"by digest":      objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{}), Digests: true, Cache: 8 << 20}),
	}
}

// The same bytes are stored once in a scope, and the statistics count them.
func TestSharedOnce(t *testing.T) {
	for name, s := range stores() {
		t.Run(name, func(t *testing.T) {
			data := random(1, 100_000)
			first, err := s.PutShared(t.Context(), "a", data)
			check(t, err)
			for range 999 {
				again, err := s.PutShared(t.Context(), "a", bytes.Clone(data))
				check(t, err)
				if again != first {
					t.Fatalf("the same bytes: got key %s, want %s", again, first)
				}
			}
			changed := bytes.Clone(data)
			changed[77]++
			if other, err := s.PutShared(t.Context(), "a", changed); err != nil || other == first {
				t.Errorf("other bytes: got key %s, error %v; want a new key", other, err)
			}
			if own, err := s.Put(t.Context(), "a", data); err != nil || own == first {
				t.Errorf("Put of the same bytes: got key %s, error %v; want a new key", own, err)
			}
			if there, err := s.PutShared(t.Context(), "b", data); err != nil || there.Scope != "b" {
				t.Errorf("the same bytes in scope b: got key %s, error %v; want one in scope b", there, err)
			}
			if got := s.Stats(); got.Puts != 1003 || got.Shared != 999 || got.SharedBytes != 999*100_000 {
				t.Errorf("stats: got %+v, want 1003 puts, of which 999 are shared, with %d bytes", got, 999*100_000)
			}
		})
	}
}

// Contents whose samples are equal get different keys, and each of them is stored once.
func TestEqualSamples(t *testing.T) {
	for name, s := range stores() {
		t.Run(name, func(t *testing.T) {
			data := [3][]byte{}
			var keys [3]objstore.Key
			for round := range 2 {
				for i := range data {
					data[i] = random(1, 3*objstore.Leaf+1)
					data[i][len(data[i])-100+i]++ // between two of the samples
					key, err := s.PutShared(t.Context(), "a", data[i])
					check(t, err)
					if round == 0 {
						keys[i] = key
					}
					pin, err := s.Get(t.Context(), key)
					check(t, err)
					if key != keys[i] || !bytes.Equal(pin.Bytes(), data[i]) {
						t.Errorf("round %d, content %d: got key %s, equal bytes %v; want key %s, equal bytes", round, i, key, bytes.Equal(pin.Bytes(), data[i]), keys[i])
					}
					pin.Release()
				}
			}
			if got := s.Stats(); got.Puts != 6 || got.Shared != 3 {
				t.Errorf("stats: got %+v, want 6 puts, of which 3 are shared", got)
			}
		})
	}
}

// The digest depends on the content alone.
func TestDigest(t *testing.T) {
	for _, size := range []int{0, 1, objstore.Leaf + 1} {
		data := random(5, size)
		a, b := objstore.NewContent(data).Digest(), objstore.NewContent(bytes.Clone(data)).Digest()
		if a != b {
			t.Errorf("digest of the same %d bytes: got %s, then %s; want the same", size, a, b)
		}
		if size > 0 {
			data[size-1]++
			if objstore.NewContent(data).Digest() == a {
				t.Errorf("digest of %d bytes of which one was changed: got the same, %s; want another", size, a)
			}
		}
	}
	const golden = "31654ed71d7715721ff4b61bec64c4ed59fa3f07ab981fbc594b90a0a0e4b971" // values in streams have it as their name
	if got := objstore.NewContent([]byte("tidemill")).Digest().String(); got != golden {
		t.Errorf("digest: got %s, want %s", got, golden)
	}
}

// When the memory tier is full, Put waits until space is freed, its timeout has passed, or its context ends. A value that can
// never fit is an error at once. Both errors name the limit.
func TestMemoryLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tier := memory.New(memory.Config{Limit: 1000, PutTimeout: time.Minute})
		first := put(t, tier, "s", random(1, 600))
		pin, err := tier.Get(t.Context(), first)
		check(t, err)
		if err := tier.Put(t.Context(), objstore.Key{Scope: "s"}, objstore.NewContent(make([]byte, 1001))); !errors.Is(err, objstore.ErrTooLarge) ||
			!strings.Contains(err.Error(), "1001 bytes, at most 1000 are allowed") {
			t.Errorf("put of 1001 bytes: got error %v, want %v with both sizes", err, objstore.ErrTooLarge)
		}
		begun := time.Now()
		err = tier.Put(t.Context(), objstore.Key{Scope: "s", ID: objstore.Fresh()}, objstore.NewContent(make([]byte, 500)))
		if !errors.Is(err, objstore.ErrNoRoom) || !strings.Contains(err.Error(), "600 of 1000 bytes are in use") || time.Since(begun) != time.Minute {
			t.Errorf("put of 500 bytes: got error %v after %s, want %v after a minute", err, time.Since(begun), objstore.ErrNoRoom)
		}
		result := make(chan error, 1)
		second := objstore.Key{Scope: "s", ID: objstore.Fresh()}
		go func() { result <- tier.Put(t.Context(), second, objstore.NewContent(make([]byte, 500))) }()
		synctest.Wait()
		check(t, tier.Remove(t.Context(), first))
		synctest.Wait()
		select {
		case err := <-result:
			t.Fatalf("put while the removed value is pinned: got %v, want it to wait", err)
		default:
		}
		pin.Release()
		check(t, <-result)
		if used, limit := tier.Used(); used != 500 || limit != 1000 {
			t.Errorf("in use: got %d of %d bytes, want 500 of 1000", used, limit)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tier.Put(ctx, objstore.Key{Scope: "s", ID: objstore.Fresh()}, objstore.NewContent(make([]byte, 600))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("put whose context ends: got error %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

// slow is a tier that counts calls of Get, each of which waits until resume is closed.
type slow struct {
	objstore.Tier
	gets   atomic.Int64
	resume chan struct{}
}

func (s *slow) Get(ctx context.Context, key objstore.Key) (*objstore.Pin, error) {
	s.gets.Add(1)
	select {
	case <-s.resume:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Tier.Get(ctx, key)
}

// Goroutines that get the same value share one transfer. If the context of the one that transfers ends, another starts over.
func TestOneTransferForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tier := &slow{Tier: memory.New(memory.Config{}), resume: make(chan struct{})}
		data := random(1, 5000)
		key := put(t, tier, "s", data)
		s := objstore.NewStore(objstore.Config{Tier: tier, Digests: true, Cache: 1 << 20})
		cancelled, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.Get(cancelled, key); !errors.Is(err, context.Canceled) {
				t.Errorf("get whose context is cancelled: got error %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() { expect(t, asTier{s}, key, data) })
		}
		synctest.Wait()
		if n := tier.gets.Load(); n != 1 {
			t.Errorf("transfers of 11 goroutines: got %d, want 1", n)
		}
		cancel()
		synctest.Wait()
		close(tier.resume)
		all.Wait()
		expect(t, asTier{s}, key, data)
		if n := tier.gets.Load(); n != 2 {
			t.Errorf("transfers after the first was cancelled: got %d, want 2", n)
		}
	})
}

// A full cache evicts the least recently used value. While all are pinned, Get waits. A value larger than the cache is an error.
func TestCacheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tier := &slow{Tier: memory.New(memory.Config{}), resume: make(chan struct{})}
		close(tier.resume)
		s := objstore.NewStore(objstore.Config{Tier: tier, Digests: true, Cache: 1000})
		keys := make([]objstore.Key, 5)
		for i := range keys {
			keys[i] = put(t, tier, "s", random(uint64(i), 400))
		}
		get := func(i int) *objstore.Pin {
			t.Helper()
			pin, err := s.Get(t.Context(), keys[i])
			check(t, err)
			return pin
		}
		fetched := func(want int64, after string) {
			t.Helper()
			if n := tier.gets.Load(); n != want {
				t.Errorf("transfers after %s: got %d, want %d", after, n, want)
			}
		}
		get(0).Release()
		get(1).Release()
		get(0).Release()
		fetched(2, "two values")
		get(2).Release() // evicts 1
		get(0).Release()
		fetched(3, "a third")
		get(1).Release()
		fetched(4, "an evicted one")
		a, b := get(3), get(4)
		got := make(chan *objstore.Pin)
		go func() { got <- get(0) }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("get while pinned values fill the cache: it returned, want it to wait")
		default:
		}
		a.Release()
		(<-got).Release()
		b.Release()
		big := put(t, tier, "s", random(9, 1001))
		if _, err := s.Get(t.Context(), big); !errors.Is(err, objstore.ErrTooLarge) || !strings.Contains(err.Error(), "1001 bytes, at most 1000") {
			t.Errorf("get of 1001 bytes: got error %v, want %v with both sizes", err, objstore.ErrTooLarge)
		}
	})
}

// A removed value is removed from the cache, too.
func TestRemoveFromCache(t *testing.T) {
	s := stores()["by digest"]
	key, err := s.PutShared(t.Context(), "s", random(1, 1000))
	check(t, err)
	check(t, s.Remove(t.Context(), key))
	expectNone(t, asTier{s}, key)
	key, err = s.PutShared(t.Context(), "s", random(1, 1000))
	check(t, err)
	check(t, s.RemoveScope(t.Context(), "s"))
	expectNone(t, asTier{s}, key)
}

func ExampleStore() {
	s := objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})})
	ctx := context.Background()
	key, _ := s.PutShared(ctx, "job", []byte("the same bytes"))
	again, _ := s.PutShared(ctx, "job", []byte("the same bytes"))
	size, _ := s.Stat(ctx, key)
	pin, _ := s.Get(ctx, key)
	defer pin.Release()
	fmt.Println(key == again, size, string(pin.Bytes()), s.Stats().Shared)
	// Output: true 14 the same bytes 1
}
