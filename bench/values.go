package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/objstore"
	shelf "github.com/tidemill/tidemill/objstore/jetstream"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// Functions of the rows about values.
var (
	// SumRefs gets all references and returns the sum.
	SumRefs = engine.NewFunc("sum-refs", func(ctx context.Context, refs []engine.Ref[int]) (int, error) {
		total := 0
		for _, r := range refs {
			n, err := r.Get(ctx)
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	})

	// Bytes returns n zero bytes.
	Bytes = engine.NewFunc("bytes", func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil })
)

// Numbers of the rows about values.
const (
	smallPuts = 100_000   // puts, and gets, of small values
	wideRefs  = 10_000    // references in an input or a value
	outputs   = 3_000     // tasks with a result of 1,000 bytes
	waited    = 1_000     // references to wait for
	largePut  = 100 << 20 // bytes of a large value
)

// oursOnly returns an opener of sides that share a cluster. The context of their rounds has its session.
func oursOnly(rounds ...side) func(ctx context.Context, sc scale) (*trial, error) {
	return func(ctx context.Context, _ scale) (*trial, error) {
		c, err := tidemill.Open(ctx, tidemill.Config{})
		if err != nil {
			return nil, err
		}
		t := &trial{close: func() error { return closeCluster(c) }}
		for _, r := range rounds {
			t.sides = append(t.sides, side{r.name, func(ctx context.Context) (sample, error) { return r.round(c.Context(ctx)) }})
		}
		return t, nil
	}
}

// smallRow measures puts and gets of small values from one goroutine.
func smallRow() row {
	return row{
		name: "small values", about: "put, and get, of a number from one goroutine", open: oursOnly(side{"put", putSmall}, side{"get", getSmall}),
		figures: []figure{
			{"put", perSecond, reading{0, rate}, reading{}, "", aimed(atLeast(200_000))},
			{"get", perSecond, reading{1, rate}, reading{}, "", aimed(atLeast(500_000))},
			{"allocations of a put", count, reading{0, allocs}, reading{}, "", goal{}},
			{"allocations of a get", count, reading{1, allocs}, reading{}, "", goal{}},
		},
	}
}

func putSmall(ctx context.Context) (sample, error) {
	m := startMeter()
	var last engine.Ref[int]
	for i := range smallPuts {
		last = engine.Put(ctx, i)
	}
	s := m.stop(smallPuts)
	_, err := last.Get(ctx)
	return s, err
}

func getSmall(ctx context.Context) (sample, error) {
	ref := engine.Put(ctx, 7)
	m := startMeter()
	for range smallPuts {
		if _, err := ref.Get(ctx); err != nil {
			return nil, err
		}
	}
	return m.stop(smallPuts), nil
}

// manyRow measures many references at once.
func manyRow() row {
	timed := func(do func(ctx context.Context) error) func(ctx context.Context) (sample, error) {
		return func(ctx context.Context) (sample, error) {
			begun := time.Now()
			err := do(ctx)
			return sample{elapsed: time.Since(begun).Seconds()}, err
		}
	}
	return row{
		name: "many refs", about: "10,000 arguments to a task, 10,000 refs in a value, 3,000 outputs, 1,000 waits",
		open: oursOnly(
			side{"arguments", timed(func(ctx context.Context) error {
				n, err := SumRefs.Submit(ctx, puts(ctx, wideRefs)).Get(ctx)
				return check(n, wideRefs*(wideRefs-1)/2, err)
			})},
			side{"in a value", timed(func(ctx context.Context) error {
				refs, err := engine.Put(ctx, puts(ctx, wideRefs)).Get(ctx)
				if err != nil {
					return err
				}
				last, err := refs[wideRefs-1].Get(ctx)
				return check(last, wideRefs-1, err)
			})},
			side{"outputs", timed(func(ctx context.Context) error {
				var refs []engine.Ref[[]byte]
				for range outputs {
					refs = append(refs, Bytes.Submit(ctx, 1000))
				}
				all, err := engine.GetAll(ctx, refs)
				return check(len(all), outputs, err)
			})},
			side{"waits", waits},
		),
		figures: []figure{
			{"10,000 arguments to a task", seconds, reading{0, elapsed}, reading{}, "", aimed(atMost(1))},
			{"10,000 refs in a value", seconds, reading{1, elapsed}, reading{}, "", aimed(atMost(1))},
			{"3,000 outputs fetched", seconds, reading{2, elapsed}, reading{}, "", aimed(atMost(1))},
			{"Wait for 1,000, one by one", seconds, reading{3, elapsed}, reading{}, "", aimed(atMost(0.002))},
		},
	}
}

// puts puts the numbers from 0 to n-1, and returns their references.
func puts(ctx context.Context, n int) []engine.Ref[int] {
	refs := make([]engine.Ref[int], n)
	for i := range refs {
		refs[i] = engine.Put(ctx, i)
	}
	return refs
}

// check returns err, or an error if got is not want.
func check(got, want int, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("got %d, want %d", got, want)
	}
	return err
}

// waits measures waitForEach on tasks that have ended.
func waits(ctx context.Context) (sample, error) {
	pending := submitted(ctx, waited)
	if _, err := engine.GetAll(ctx, pending); err != nil {
		return nil, err
	}
	begun := time.Now()
	err := waitForEach(ctx, pending)
	return sample{elapsed: time.Since(begun).Seconds()}, err
}

// submitted submits n no-op tasks, and returns their references.
func submitted(ctx context.Context, n int) []engine.Ref[int] {
	refs := make([]engine.Ref[int], n)
	for i := range refs {
		refs[i] = Noop.Submit(ctx, i)
	}
	return refs
}

// waitForEach waits for at least one of the pending references, until none is left.
func waitForEach(ctx context.Context, pending []engine.Ref[int]) (err error) {
	for len(pending) > 0 && err == nil {
		_, pending, err = engine.Wait(ctx, pending, 1)
	}
	return err
}

// largeRow compares a put of a large value in this process with copying it.
func largeRow() row {
	return row{
		name: "large put", about: "100 MiB put in this process", open: openLarge,
		figures: []figure{
			{"bytes a second", perSecond, reading{0, rate}, reading{1, rate}, "copy into touched memory", aimed(ratioAtLeast(0.8))},
		},
	}
}

// openLarge allocates the value when the row is opened: with a heap that large, the garbage collector would hardly run in the
// rows before it.
func openLarge(ctx context.Context, sc scale) (*trial, error) {
	data := largeData()
	touched := bytes.Clone(data)
	put := func(ctx context.Context) (sample, error) {
		took, err := putLarge(ctx, data)
		return sample{rate: largePut / took.Seconds()}, err
	}
	machine := func(context.Context) (sample, error) {
		begun := time.Now()
		copy(touched, data)
		return sample{rate: largePut / time.Since(begun).Seconds()}, nil
	}
	return oursOnly(side{"put", put}, side{"copy", machine})(ctx, sc)
}

// largeData returns a large value. (It is not zero: memory that has not been written to is one page, which stays in the
// CPU cache.)
func largeData() []byte { return bytes.Repeat([]byte("tidemill"), largePut/8) }

// putLarge puts a large value, which is different each time, and releases it.
func putLarge(ctx context.Context, data []byte) (took time.Duration, err error) {
	data[0]++
	begun := time.Now()
	ref := engine.Put(ctx, data)
	took = time.Since(begun)
	n, err := ref.Get(ctx)
	ref.Release()
	return took, check(len(n), largePut, err)
}

// shelfRow measures writing a large value to JetStream and reading it, by our object store and that of nats.go.
func shelfRow() row {
	return row{
		name: "shelf", about: "100 MiB into JetStream and out again", open: openShelves,
		figures: []figure{
			{"in and out", seconds, reading{0, elapsed}, reading{1, elapsed}, "the stock object store", aimed(ratioAtMost(0.33))},
			{"in", seconds, reading{0, in}, reading{1, in}, "the stock object store", goal{}},
			{"out", seconds, reading{0, out}, reading{1, out}, "the stock object store", goal{}},
		},
	}
}

func openShelves(ctx context.Context, _ scale) (*trial, error) {
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	ours, err1 := shelf.Open(ctx, queues.Config{Namespace: "tm", Dialer: server, Storage: queues.Memory, Logger: quiet}, shelf.Config{})
	conn, err2 := nats.Connect("", nats.InProcessServer(server))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	stock, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "stock", Storage: jetstream.MemoryStorage})
	if err != nil {
		return nil, err
	}
	data := largeData()
	return &trial{
		sides: []side{
			{"tidemill", func(ctx context.Context) (sample, error) {
				key := objstore.Key{Scope: "bench", ID: objstore.Fresh()}
				s, err := inAndOut(
					func() error { return ours.Put(ctx, key, objstore.NewContent(data)) },
					func() ([]byte, error) {
						pin, err := ours.Get(ctx, key)
						if err != nil {
							return nil, err
						}
						return pin.Bytes(), nil
					},
				)
				return s, errors.Join(err, ours.RemoveScope(ctx, "bench"))
			}},
			{"stock", func(ctx context.Context) (sample, error) {
				s, err := inAndOut(
					func() error { _, err := stock.PutBytes(ctx, "x", data); return err },
					func() ([]byte, error) {
						r, err := stock.Get(ctx, "x")
						if err != nil {
							return nil, err
						}
						return io.ReadAll(r)
					},
				)
				return s, errors.Join(err, stock.Delete(ctx, "x"))
			}},
		},
		close: func() error {
			ours.Close()
			conn.Close()
			server.Close()
			return nil
		},
	}, nil
}

// inAndOut measures a put and the get after it.
func inAndOut(put func() error, get func() ([]byte, error)) (sample, error) {
	begun := time.Now()
	if err := put(); err != nil {
		return nil, err
	}
	there := time.Since(begun).Seconds()
	data, err := get()
	took := time.Since(begun).Seconds()
	return sample{elapsed: took, in: there, out: took - there}, check(len(data), largePut, err)
}
