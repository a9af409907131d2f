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

// tiers are the implementations that the conformance tests run on.
var tiers = []struct {
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
	tier, err := jetstream.Open(t.Context(), cfg, jetstream.Config{})
	check(t, err)
	t.Cleanup(tier.Close)
	return tier
}

// onCluster returns a tier on three servers, whose stream has a replica on each. It waits for the cluster, for a minute at
// most.
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
	var notReady error
	for ctx.Err() == nil {
		cfg := queues.Config{Namespace: "tm", Storage: queues.Files, Replicas: 3, URL: servers[0].ClientURL(), Logger: quiet}
		tier, err := jetstream.Open(ctx, cfg, jetstream.Config{})
		if err == nil {
			t.Cleanup(tier.Close)
			checkReplicas(t, servers[1].ClientURL())
			return tier
		}
		notReady = err
	}
	t.Fatalf("after a minute, no stream can be created on the three servers: %v", notReady)
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
		t.Errorf("stream info: got %s, want 3 replicas", answer.Data)
	}
}

// asTier lets a store pass for a tier.
type asTier struct{ *objstore.Store }

func (s asTier) Put(ctx context.Context, key objstore.Key, content *objstore.Content) error {
	return s.PutAs(ctx, key, content)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

// conform runs a test on each tier. Afterwards no goroutine of it is left.
func conform(t *testing.T, test func(t *testing.T, tier objstore.Tier)) {
	for _, s := range tiers {
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
		t.Errorf("get %s: got %d bytes, which differ from the %d that were put", key, len(pin.Bytes()), len(want))
	}
}

func expectNone(t *testing.T, tier objstore.Tier, key objstore.Key) {
	t.Helper()
	if _, err := tier.Get(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("get %s: got error %v, want %v", key, err, objstore.ErrNotFound)
	}
	if _, err := tier.Stat(t.Context(), key); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("stat %s: got error %v, want %v", key, err, objstore.ErrNotFound)
	}
	if _, err := tier.ReadAt(t.Context(), key, make([]byte, 1), 0); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("read %s: got error %v, want %v", key, err, objstore.ErrNotFound)
	}
}

// Values of any size are read as they were put, as a whole or in part, and Stat returns their size.
func TestConformance(t *testing.T) {
	conform(t, func(t *testing.T, tier objstore.Tier) {
		for i, size := range []int{0, 1, 1000, objstore.Leaf - 1, objstore.Leaf, objstore.Leaf + 1, 3 * objstore.Leaf, 17*objstore.Leaf + 5} {
			data := random(uint64(i), size)
			key := put(t, tier, "s", data)
			expect(t, tier, key, data)
			if got, err := tier.Stat(t.Context(), key); got != int64(size) || err != nil {
				t.Errorf("stat: got %d bytes, error %v; want %d bytes", got, err, size)
			}
			checkRanges(t, tier, key, data)
		}
		t.Run("scopes", func(t *testing.T) { testScopes(t, tier) })
		t.Run("remove", func(t *testing.T) { testRemove(t, tier) })
		t.Run("removed and put again", func(t *testing.T) { testRemovedAndPutAgain(t, tier) })
		t.Run("concurrently", func(t *testing.T) { testConcurrently(t, tier) })
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
			t.Errorf("read at %d of %d bytes: got %x, want %x", at, len(data), p[:n], want)
		}
	}
}

// The same content in two scopes is two values, and RemoveScope removes all values of one scope.
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

// A removed value is not found and can be put again; a pin on it stays valid, and may be released twice.
func testRemove(t *testing.T, tier objstore.Tier) {
	data := random(3, 3*objstore.Leaf+1)
	key, other := put(t, tier, "r", data), put(t, tier, "r", data[:100])
	pin, err := tier.Get(t.Context(), key)
	check(t, err)
	check(t, tier.Remove(t.Context(), key, objstore.Key{Scope: "r", ID: objstore.Fresh()}))
	expectNone(t, tier, key)
	expect(t, tier, other, data[:100])
	if !bytes.Equal(pin.Bytes(), data) {
		t.Error("the pinned bytes of a removed value have changed, want them as they were put")
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

// Goroutines put, get and remove equal and different values at the same time.
func testConcurrently(t *testing.T, tier objstore.Tier) {
	values := make([][]byte, 6)
	for i := range values {
		values[i] = random(uint64(100+i), i*objstore.Leaf/2+10)
	}
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i, data := range values {
				content := objstore.NewContent(data)
				shared := objstore.Key{Scope: "t", ID: content.Digest()}
				own := objstore.Key{Scope: "t", ID: objstore.Fresh()}
				err := errors.Join(putAndGet(t.Context(), tier, shared, content), putAndGet(t.Context(), tier, own, content))
				if (g+i)%2 == 0 {
					err = errors.Join(err, tier.Remove(t.Context(), own))
				}
				if err != nil {
					t.Errorf("goroutine %d, value %d: %v", g, i, err)
				}
			}
		})
	}
	all.Wait()
}

// putAndGet returns an error unless the value is got as it was put.
func putAndGet(ctx context.Context, tier objstore.Tier, key objstore.Key, content *objstore.Content) error {
	if err := tier.Put(ctx, key, content); err != nil {
		return err
	}
	pin, err := tier.Get(ctx, key)
	if err != nil {
		return err
	}
	defer pin.Release()
	if !bytes.Equal(pin.Bytes(), content.Bytes()) {
		return fmt.Errorf("get %s: got %d bytes, which differ from the %d that were put", key, len(pin.Bytes()), len(content.Bytes()))
	}
	return nil
}

// A Put whose context has ended leaves no value, unless it succeeds all the same.
func testCancelled(t *testing.T, tier objstore.Tier) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	key := objstore.Key{Scope: "c", ID: objstore.Fresh()}
	if tier.Put(ctx, key, objstore.NewContent(random(9, 40*objstore.Leaf))) == nil {
		return // the value was stored before the context was checked
	}
	expectNone(t, tier, key)
}
