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

// stores are the two ways in which a store knows what it has.
func stores() map[string]*objstore.Store {
	return map[string]*objstore.Store{
		"by fingerprint": objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})}),
		"by digest":      objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{}), Digests: true, Cache: 8 << 20}),
	}
}

// The same bytes are kept once in a scope, and counted.
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
					t.Fatalf("%s, then %s", first, again)
				}
			}
			changed := bytes.Clone(data)
			changed[77]++
			if other, err := s.PutShared(t.Context(), "a", changed); err != nil || other == first {
				t.Errorf("other bytes are %s too, %v", other, err)
			}
			if own, err := s.Put(t.Context(), "a", data); err != nil || own == first {
				t.Errorf("what is not shared is %s too, %v", own, err)
			}
			if there, err := s.PutShared(t.Context(), "b", data); err != nil || there.Scope != "b" {
				t.Errorf("in another scope: %s, %v", there, err)
			}
			if got := s.Stats(); got.Puts != 1003 || got.Shared != 999 || got.SharedByte != 999*100_000 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// Contents that look alike at a glance are not taken for the same, and each of them is kept once.
func TestAlikeAtAGlance(t *testing.T) {
	for name, s := range stores() {
		t.Run(name, func(t *testing.T) {
			data := [3][]byte{}
			var keys [3]objstore.Key
			for round := range 2 {
				for i := range data {
					data[i] = random(1, 3*objstore.Leaf+1)
					data[i][len(data[i])-100+i]++ // between two places that a glance looks at
					key, err := s.PutShared(t.Context(), "a", data[i])
					check(t, err)
					if round == 0 {
						keys[i] = key
					}
					pin, err := s.Get(t.Context(), key)
					check(t, err)
					if key != keys[i] || !bytes.Equal(pin.Bytes(), data[i]) {
						t.Errorf("round %d: content %d is %s, and was %s", round, i, key, keys[i])
					}
					pin.Release()
				}
			}
			if got := s.Stats(); got.Puts != 6 || got.Shared != 3 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A digest does not depend on anything but the content.
func TestDigest(t *testing.T) {
	for _, size := range []int{0, 1, objstore.Leaf + 1} {
		data := random(5, size)
		a, b := objstore.NewContent(data).Digest(), objstore.NewContent(bytes.Clone(data)).Digest()
		if a != b {
			t.Errorf("%d bytes: %s and %s", size, a, b)
		}
		if size > 0 {
			data[size-1]++
			if objstore.NewContent(data).Digest() == a {
				t.Errorf("%d bytes: another content has the same digest", size)
			}
		}
	}
	const golden = "31654ed71d7715721ff4b61bec64c4ed59fa3f07ab981fbc594b90a0a0e4b971" // it is the name of values in streams
	if got := objstore.NewContent([]byte("tidemill")).Digest().String(); got != golden {
		t.Error(got)
	}
}

// A full shelf has Put wait until something goes; then it says how full it is. What can never fit is refused
// at once, with both sizes.
func TestMemoryHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shelf := memory.New(memory.Config{Limit: 1000, Patience: time.Minute})
		tier := objstore.Tier(shelf)
		first := put(t, tier, "s", random(1, 600))
		pin, err := tier.Get(t.Context(), first)
		check(t, err)
		if err := tier.Put(t.Context(), objstore.Key{Scope: "s"}, objstore.NewContent(make([]byte, 1001))); !errors.Is(err, objstore.ErrTooLarge) ||
			!strings.Contains(err.Error(), "1001 bytes, and 1000 is the most") {
			t.Errorf("what never fits: %v", err)
		}
		begun := time.Now()
		err = tier.Put(t.Context(), objstore.Key{Scope: "s", ID: objstore.Fresh()}, objstore.NewContent(make([]byte, 500)))
		if !errors.Is(err, objstore.ErrNoRoom) || !strings.Contains(err.Error(), "600 of 1000 bytes are taken") || time.Since(begun) != time.Minute {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		waits := make(chan error, 1)
		second := objstore.Key{Scope: "s", ID: objstore.Fresh()}
		go func() { waits <- tier.Put(t.Context(), second, objstore.NewContent(make([]byte, 500))) }()
		synctest.Wait()
		check(t, tier.Remove(t.Context(), first))
		synctest.Wait()
		select {
		case err := <-waits:
			t.Fatalf("it did not wait for who reads what was removed: %v", err)
		default:
		}
		pin.Release()
		check(t, <-waits)
		if used, limit := shelf.Used(); used != 500 || limit != 1000 {
			t.Errorf("%d of %d bytes", used, limit)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tier.Put(ctx, objstore.Key{Scope: "s", ID: objstore.Fresh()}, objstore.NewContent(make([]byte, 600))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while its context lasts: %v", err)
		}
	})
}

// slow is a tier whose reads are counted, and wait.
type slow struct {
	objstore.Tier
	gets  atomic.Int64
	pause chan struct{}
}

func (s *slow) Get(ctx context.Context, key objstore.Key) (*objstore.Pin, error) {
	s.gets.Add(1)
	select {
	case <-s.pause:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Tier.Get(ctx, key)
}

// Goroutines that ask for one value share one transfer; one whose context ends does not end it for others.
func TestOneTransferForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tier := &slow{Tier: memory.New(memory.Config{}), pause: make(chan struct{})}
		data := random(1, 5000)
		key := put(t, tier, "s", data)
		s := objstore.NewStore(objstore.Config{Tier: tier, Digests: true, Cache: 1 << 20})
		impatient, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.Get(impatient, key); !errors.Is(err, context.Canceled) {
				t.Errorf("the impatient one: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			all.Go(func() { expect(t, asTier{s}, key, data) })
		}
		synctest.Wait()
		if n := tier.gets.Load(); n != 1 {
			t.Errorf("%d transfers at a time", n)
		}
		cancel()
		synctest.Wait()
		close(tier.pause)
		all.Wait()
		expect(t, asTier{s}, key, data)
		if n := tier.gets.Load(); n != 2 { // the first one was given up
			t.Errorf("%d transfers", n)
		}
	})
}

// The cache holds its bound: unpinned values go, the longest unused first; pinned ones have others wait.
func TestCacheHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tier := &slow{Tier: memory.New(memory.Config{}), pause: make(chan struct{})}
		close(tier.pause)
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
				t.Errorf("%d values were fetched after %s, want %d", n, after, want)
			}
		}
		get(0).Release()
		get(1).Release()
		get(0).Release()
		fetched(2, "two values")
		get(2).Release() // 1 goes
		get(0).Release()
		fetched(3, "a third")
		get(1).Release()
		fetched(4, "one that had gone")
		a, b := get(3), get(4)
		got := make(chan *objstore.Pin)
		go func() { got <- get(0) }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("pinned values gave way")
		default:
		}
		a.Release()
		(<-got).Release()
		b.Release()
		big := put(t, tier, "s", random(9, 1001))
		if _, err := s.Get(t.Context(), big); !errors.Is(err, objstore.ErrTooLarge) || !strings.Contains(err.Error(), "1001 bytes, and 1000") {
			t.Errorf("a value larger than the cache: %v", err)
		}
	})
}

// What was removed is not found in the cache either.
func TestRemovedFromTheCache(t *testing.T) {
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
