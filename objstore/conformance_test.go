package objstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/jetstream"
	"github.com/tidemill/tidemill/objstore/memory"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

var quiet = slog.New(slog.DiscardHandler)

// shelves are the tiers that the contract is held for.
var shelves = []struct {
	name string
	open func(t *testing.T) objstore.Tier
}{
	{"memory", func(*testing.T) objstore.Tier { return memory.New(memory.Config{}) }},
	{"jetstream, in memory", func(t *testing.T) objstore.Tier { return onServer(t, queues.Memory, "") }},
	{"jetstream, in files", func(t *testing.T) objstore.Tier { return onServer(t, queues.Files, "") }},
	{"jetstream, over TCP", func(t *testing.T) objstore.Tier { return onServer(t, queues.Memory, "127.0.0.1:0") }},
	{"jetstream, on three servers", onCluster},
	{"a store with a cache", func(t *testing.T) objstore.Tier {
		return asTier{objstore.NewStore(objstore.Config{Tier: onServer(t, queues.Memory, ""), Digests: true, Cache: 16 << 20})}
	}},
}

func onServer(t *testing.T, storage queues.Storage, listen string) objstore.Tier {
	t.Helper()
	s, err := embedded.Start(embedded.Config{Listen: listen, Dir: t.TempDir(), Sync: embedded.NoSyncForTwoMinutes, Logger: quiet})
	check(t, err)
	t.Cleanup(s.Close)
	cfg := queues.Config{Namespace: "tm", Storage: storage, URL: s.URL(), Logger: quiet}
	if listen == "" {
		cfg.Dialer = s
	}
	return onStream(t, cfg)
}

func onStream(t *testing.T, cfg queues.Config) objstore.Tier {
	t.Helper()
	shelf, err := jetstream.Open(t.Context(), cfg, jetstream.Config{})
	check(t, err)
	t.Cleanup(shelf.Close)
	return shelf
}

// onCluster returns a shelf whose stream has three replicas.
func onCluster(t *testing.T) objstore.Tier {
	t.Helper()
	var servers []*server.Server
	var routes []*url.URL
	for i := range 3 {
		port := freePort(t)
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprint("127.0.0.1:", port)})
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 1 << 30,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port}, Routes: routes,
		})
		check(t, err)
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers = append(servers, s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		cfg := queues.Config{Namespace: "tm", Storage: queues.Files, Replicas: 3, URL: servers[0].ClientURL(), Logger: quiet}
		shelf, err := jetstream.Open(ctx, cfg, jetstream.Config{})
		if err == nil {
			t.Cleanup(shelf.Close)
			checkReplicas(t, servers[1].ClientURL())
			return shelf
		}
		t.Log("the cluster is not ready:", err)
	}
	t.Fatal("the cluster does not become ready")
	return nil
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func checkReplicas(t *testing.T, url string) {
	t.Helper()
	conn, err := nats.Connect(url)
	check(t, err)
	defer conn.Close()
	answer, err := conn.Request("$JS.API.STREAM.INFO.tm_obj", nil, 10*time.Second)
	check(t, err)
	if !bytes.Contains(answer.Data, []byte(`"num_replicas":3`)) {
		t.Errorf("the stream has not three replicas: %s", answer.Data)
	}
}

// asTier has a store keep what is put under its key.
type asTier struct{ *objstore.Store }

func (s asTier) Put(ctx context.Context, key objstore.Key, content *objstore.Content) error {
	return s.PutAs(ctx, key, content)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// conform runs a test of the contract for every shelf.
func conform(t *testing.T, test func(t *testing.T, tier objstore.Tier)) {
	for _, s := range shelves {
		t.Run(s.name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
			test(t, s.open(t))
		})
	}
}

func random(seed uint64, size int) []byte {
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 7})
	_, _ = io.ReadFull(r, data)
	return data
}

func put(t *testing.T, tier objstore.Tier, scope string, data []byte) objstore.Key {
	t.Helper()
	content := objstore.NewContent(data)
	key := objstore.Key{Scope: scope, ID: content.Digest()}
	check(t, tier.Put(t.Context(), key, content))
	return key
}

func expect(t *testing.T, tier objstore.Tier, key objstore.Key, want []byte) {
	t.Helper()
	pin, err := tier.Get(t.Context(), key)
	check(t, err)
	defer pin.Release()
	if !bytes.Equal(pin.Bytes(), want) {
		t.Errorf("%s: %d bytes that differ from the %d that were put", key, len(pin.Bytes()), len(want))
	}
}

func expectNone(t *testing.T, tier objstore.Tier, key objstore.Key) {
	t.Helper()
	if _, err := tier.Get(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := tier.Stat(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("stat: %v", err)
	}
	if _, err := tier.ReadAt(t.Context(), key, make([]byte, 1), 0); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
}

// What was put is got: of any size, whole or in part, and its size is known before.
func TestConformance(t *testing.T) {
	conform(t, func(t *testing.T, tier objstore.Tier) {
		for i, size := range []int{0, 1, 1000, objstore.Leaf - 1, objstore.Leaf, objstore.Leaf + 1, 3 * objstore.Leaf, 17*objstore.Leaf + 5} {
			data := random(uint64(i), size)
			key := put(t, tier, "s", data)
			expect(t, tier, key, data)
			if got, err := tier.Stat(t.Context(), key); got != int64(size) || err != nil {
				t.Errorf("size %d, %v; want %d", got, err, size)
			}
			checkRanges(t, tier, key, data)
		}
		t.Run("scopes", func(t *testing.T) { testScopes(t, tier) })
		t.Run("remove", func(t *testing.T) { testRemove(t, tier) })
		t.Run("removed and put again", func(t *testing.T) { testRemovedAndPutAgain(t, tier) })
		t.Run("together", func(t *testing.T) { testTogether(t, tier) })
		t.Run("cancelled", func(t *testing.T) { testCancelled(t, tier) })
	})
}

func checkRanges(t *testing.T, tier objstore.Tier, key objstore.Key, data []byte) {
	t.Helper()
	for _, at := range []int{0, 1, len(data) / 2, len(data) - 1, len(data), len(data) + 7, objstore.Leaf - 3} {
		p := make([]byte, 10)
		n, err := tier.ReadAt(t.Context(), key, p, int64(max(at, 0)))
		check(t, err)
		want := objstore.From(data, int64(max(at, 0)))
		want = want[:min(len(want), len(p))]
		if !bytes.Equal(p[:n], want) {
			t.Errorf("%d bytes at %d of %d: %x, want %x", n, at, len(data), p[:n], want)
		}
	}
}

// One key in two scopes is two values, and a scope goes as a whole.
func testScopes(t *testing.T, tier objstore.Tier) {
	data := random(1, 2000)
	here, there := put(t, tier, "here", data), put(t, tier, "there", data)
	other := put(t, tier, "here", random(2, 2*objstore.Leaf))
	check(t, tier.RemoveScope(t.Context(), "here"))
	expectNone(t, tier, here)
	expectNone(t, tier, other)
	expect(t, tier, there, data)
	check(t, tier.RemoveScope(t.Context(), "nowhere"))
	expect(t, tier, put(t, tier, "here", data), data)
}

// What is removed is found no more, and can be put again; who reads it reads on.
func testRemove(t *testing.T, tier objstore.Tier) {
	data := random(3, 3*objstore.Leaf+1)
	key, other := put(t, tier, "r", data), put(t, tier, "r", data[:100])
	pin, err := tier.Get(t.Context(), key)
	check(t, err)
	check(t, tier.Remove(t.Context(), key, objstore.Key{Scope: "r", ID: objstore.Fresh()}))
	expectNone(t, tier, key)
	expect(t, tier, other, data[:100])
	if !bytes.Equal(pin.Bytes(), data) {
		t.Error("what is pinned has changed")
	}
	pin.Release()
	pin.Release()
	expect(t, tier, put(t, tier, "r", data), data)
}

// A value is gone as soon as Remove returns, also where replicas lag behind: it is not found, and putting it again stores it.
func testRemovedAndPutAgain(t *testing.T, tier objstore.Tier) {
	for range 50 {
		key := put(t, tier, "again", []byte("value"))
		check(t, tier.Remove(t.Context(), key))
		expectNone(t, tier, key)
		put(t, tier, "again", []byte("value"))
		expect(t, tier, key, []byte("value"))
		check(t, tier.RemoveScope(t.Context(), "again"))
	}
}

// Many put, get and remove the same and other values at a time.
func testTogether(t *testing.T, tier objstore.Tier) {
	values := make([][]byte, 6)
	for i := range values {
		values[i] = random(uint64(100+i), i*objstore.Leaf/2+10)
	}
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i, data := range values {
				key := put(t, tier, "t", data)
				expect(t, tier, key, data)
				own := objstore.Key{Scope: "t", ID: objstore.Fresh()}
				if err := tier.Put(t.Context(), own, objstore.NewContent(data)); err != nil {
					t.Error(err)
				}
				expect(t, tier, own, data)
				if (g+i)%2 == 0 {
					if err := tier.Remove(t.Context(), own); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}

// A context that has ended leaves nothing that is found.
func testCancelled(t *testing.T, tier objstore.Tier) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	key := objstore.Key{Scope: "c", ID: objstore.Fresh()}
	if tier.Put(ctx, key, objstore.NewContent(random(9, 40*objstore.Leaf))) == nil {
		return // it was put before it was asked
	}
	expectNone(t, tier, key)
}
