package objstore_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/jetstream"
	"github.com/tidemill/tidemill/objstore/memory"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

const benchBytes = 100 << 20

// Put into memory, compared to a plain copy into memory whose pages exist already.
func BenchmarkMemoryPut(b *testing.B) {
	data := random(1, benchBytes)
	s := objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})})
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(benchBytes)
		to := bytes.Clone(data)
		for b.Loop() {
			copy(to, data)
		}
	})
	b.Run("put", func(b *testing.B) {
		b.SetBytes(benchBytes)
		b.ReportAllocs()
		for b.Loop() {
			key, err := s.Put(b.Context(), "b", append([]byte(nil), data...))
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Remove(b.Context(), key)
		}
	})
	b.Run("put shared, exists", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			if _, err := s.PutShared(b.Context(), "b", data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A large value in JetStream, compared to the object store of the client library.
func BenchmarkJetStream(b *testing.B) {
	server, err := embedded.Start(embedded.Config{Dir: b.TempDir(), Sync: embedded.NoSyncForTwoMinutes, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	tier, err := jetstream.Open(b.Context(), queues.Config{Namespace: "tm", Dialer: server, Storage: queues.Memory, Logger: quiet}, jetstream.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer tier.Close()
	conn, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	js, err := natsjs.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	stock, err := js.CreateObjectStore(b.Context(), natsjs.ObjectStoreConfig{Bucket: "stock", Storage: natsjs.MemoryStorage})
	if err != nil {
		b.Fatal(err)
	}
	data := random(1, benchBytes)
	b.Run("stock put", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			if _, err := stock.PutBytes(b.Context(), "x", data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("stock get", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			r, err := stock.Get(b.Context(), "x")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadAll(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	var key objstore.Key
	b.Run("put", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			key = objstore.Key{Scope: "b", ID: objstore.Fresh()}
			if err := tier.Put(b.Context(), key, objstore.NewContent(data)); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			_ = tier.RemoveScope(b.Context(), "b")
			b.StartTimer()
		}
	})
	key = objstore.Key{Scope: "b", ID: objstore.Fresh()}
	if err := tier.Put(b.Context(), key, objstore.NewContent(data)); err != nil {
		b.Fatal(err)
	}
	b.Run("get", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			if _, err := tier.Get(b.Context(), key); err != nil {
				b.Fatal(err)
			}
		}
	})
}
