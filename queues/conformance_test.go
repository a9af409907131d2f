package queues_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// settings are the storages and connections that every conformance test runs with.
var settings = []struct {
	name    string
	storage queues.Storage
	listen  string
}{
	{"memory", queues.Memory, ""},
	{"files", queues.Files, ""},
	{"memory, over TCP", queues.Memory, "127.0.0.1:0"},
}

// conform runs a conformance test in every setting, with a minute for each. Afterwards no goroutine of it is left.
func conform(t *testing.T, test func(t *testing.T, ctx context.Context, connect func() *queues.Broker)) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			server, err := embedded.Start(embedded.Config{Listen: s.listen, Dir: t.TempDir()})
			check(t, err)
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var open []*queues.Broker
			defer func() {
				for _, b := range open {
					b.Close()
				}
			}()
			test(t, ctx, func() *queues.Broker {
				cfg := queues.Config{Namespace: "tm", Storage: s.storage, URL: server.URL()}
				if s.listen == "" {
					cfg.Dialer = server
				}
				b, err := queues.Connect(cfg)
				check(t, err)
				open = append(open, b)
				return b
			})
		})
	}
}

// must returns v, or fails the test: must(f())(t).
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

// checkAsync is check for a goroutine that is not the test's.
func checkAsync(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("got error %v, want none", err)
	}
}

// receive returns the next value of a channel, or fails when ctx, the test's minute, ends.
func receive[T any](t *testing.T, ctx context.Context, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-ctx.Done():
		t.Fatalf("waited for a %T: got none, want one: %v", *new(T), ctx.Err())
		panic("unreachable")
	}
}

func text(s string) queues.Message { return queues.Message{Data: []byte(s)} }

func TestQueueDeliversEachMessageToOneConsumer(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		sender, a, b := connect(), connect(), connect()
		name := sender.Batches("cpu=4-gpu=0_5", "normal")
		q := must(sender.OpenQueue(ctx, name))(t)
		got := make(chan string, 100)
		for _, broker := range []*queues.Broker{a, b} {
			p := must(broker.OpenQueue(ctx, name))(t).Pull(func(d *queues.Delivery) {
				checkAsync(t, d.Ack())
				got <- string(d.Data)
			})
			defer p.Stop()
			check(t, p.Ask(100))
		}
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprint("m", i))
			check(t, q.Publish(ctx, text(want[i])))
		}
		var have []string
		for range want {
			have = append(have, receive(t, ctx, got))
		}
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(want, have) {
			t.Errorf("messages of both consumers: got %v, want %v", have, want)
		}
	})
}

func TestPullerDeliversWithinItsCredit(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		q := must(b.OpenQueue(ctx, b.Batches("cpu", "normal")))(t)
		got := make(chan *queues.Delivery, 100)
		p := q.Pull(func(d *queues.Delivery) { got <- d })
		defer p.Stop()
		for i := range 10 {
			check(t, q.Publish(ctx, text(fmt.Sprint(i))))
		}
		for _, n := range []int{1, 3, 2} {
			check(t, p.Ask(n))
			for range n {
				check(t, receive(t, ctx, got).Ack())
			}
			if c := p.Credit(); c != 0 {
				t.Errorf("credit after %d of %d deliveries: got %d, want 0", n, n, c)
			}
		}
		check(t, q.Publish(ctx, text("beyond"))) // its answer comes after whatever the server has sent before
		if len(got) > 0 {
			t.Errorf("deliveries beyond the credit: got %d, want 0", len(got))
		}
	})
}

func TestPullerRecallsCredit(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		q := must(b.OpenQueue(ctx, b.Batches("cpu", "normal")))(t)
		got := make(chan string, 100)
		pull := func(name string) *queues.Puller {
			return q.Pull(func(d *queues.Delivery) {
				checkAsync(t, d.Ack())
				got <- name + " " + string(d.Data)
			})
		}
		p, other := pull("p"), pull("other")
		defer p.Stop()
		defer other.Stop()
		check(t, p.Ask(10))
		check(t, q.Publish(ctx, text("1")))
		if m := receive(t, ctx, got); m != "p 1" {
			t.Errorf("first delivery: got %q, want %q", m, "p 1")
		}
		p.RecallCredit()
		if c := p.Credit(); c != 0 {
			t.Errorf("credit after RecallCredit: got %d, want 0", c)
		}
		check(t, other.Ask(1))
		check(t, q.Publish(ctx, text("2")))
		if m := receive(t, ctx, got); m != "other 2" {
			t.Errorf("delivery after RecallCredit: got %q, want %q", m, "other 2")
		}
		check(t, p.Ask(1))
		check(t, q.Publish(ctx, text("3")))
		if m := receive(t, ctx, got); m != "p 3" {
			t.Errorf("delivery after asking again: got %q, want %q", m, "p 3")
		}
	})
}

func TestNakRedeliversAndCounts(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		q := must(b.OpenQueue(ctx, b.Batches("cpu", "normal")))(t)
		got := make(chan *queues.Delivery, 10)
		p := q.Pull(func(d *queues.Delivery) { got <- d })
		defer p.Stop()
		check(t, p.Ask(10))
		check(t, q.Publish(ctx, queues.Message{Header: queues.Header{"Tm-Owner": {"me"}}, Data: []byte("x")}))
		first := receive(t, ctx, got)
		check(t, first.Nak())
		second := receive(t, ctx, got)
		if first.Count != 1 || second.Count != 2 || second.Sequence != first.Sequence || second.Header.Get("Tm-Owner") != "me" {
			t.Errorf("got deliveries %+v and %+v, want counts 1 and 2, the same sequence, and the header", first, second)
		}
		check(t, second.Ack())
	})
}

func TestSendErrors(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		q := must(b.OpenQueue(ctx, b.Batches("cpu", "normal")))(t)
		check(t, q.DeleteStream(ctx))
		if err := q.Publish(ctx, text("x")); !errors.Is(err, queues.ErrNoStream) {
			t.Errorf("publish to a deleted stream: got error %v, want %v", err, queues.ErrNoStream)
		}
		if err := q.Publish(ctx, text(strings.Repeat("x", b.MaxPayload()+1))); !errors.Is(err, queues.ErrTooLarge) {
			t.Errorf("publish of a message that is too large: got error %v, want %v", err, queues.ErrTooLarge)
		}
	})
}

func TestSendEndsWhenTheBrokerCloses(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		q := must(b.OpenQueue(ctx, b.Batches("cpu", "normal")))(t)
		b.Close()
		if err := q.Publish(ctx, text("x")); !errors.Is(err, queues.ErrClosed) {
			t.Errorf("publish after Close: got error %v, want %v", err, queues.ErrClosed)
		}
	})
}

func TestLogIsReadInOrderByEveryReader(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		writer, reader := connect(), connect()
		l := must(writer.OpenLog(ctx, writer.Log("me")))(t)
		other := must(writer.OpenLog(ctx, writer.Log("other")))(t)
		var want []string
		for i := range 600 { // more than one request of Read returns
			want = append(want, fmt.Sprint(i))
			check(t, l.Append(ctx, text(want[i])))
			check(t, other.Append(ctx, text("not mine")))
		}
		mine := must(reader.OpenLog(ctx, reader.Log("me")))(t)
		var have []string
		var sequences []uint64
		for e, err := range mine.Read(ctx, 0) {
			check(t, err)
			have, sequences = append(have, string(e.Data)), append(sequences, e.Sequence)
		}
		if !slices.Equal(want, have) || !slices.IsSorted(sequences) {
			t.Errorf("got %d entries %v with sequences %v, want %d in order", len(have), have, sequences, len(want))
		}
		if last := must(mine.Last(ctx))(t); last != sequences[len(sequences)-1] {
			t.Errorf("last sequence: got %d, want %d, which was read last", last, sequences[len(sequences)-1])
		}
	})
}

// A follower that starts while the log is being written gets each entry once, in order.
func TestFollowerHasNoGap(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		writer, reader := connect(), connect()
		l := must(writer.OpenLog(ctx, writer.Log("me")))(t)
		const n = 1000
		var writing sync.WaitGroup
		defer writing.Wait()
		begun := make(chan struct{})
		writing.Go(func() {
			for i := range n {
				if err := l.Append(ctx, text(fmt.Sprint(i))); err != nil {
					t.Errorf("append %d: %v", i, err)
				}
				if i == n/4 {
					close(begun)
				}
			}
		})
		receive(t, ctx, begun)
		got := make(chan string, 2*n)
		f := must(must(reader.OpenLog(ctx, reader.Log("me")))(t).Follow(ctx, 0, func(e queues.LogEntry) { got <- string(e.Data) }))(t)
		defer f.Close()
		for i := range n {
			if have := receive(t, ctx, got); have != fmt.Sprint(i) {
				t.Fatalf("entry %d: got %s, want %d", i, have, i)
			}
		}
	})
}

// A follower that missed republished messages reads them at the next one, or by Ask.
func TestFollowerFillsGaps(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		l := must(b.OpenLog(ctx, b.Log("me")))(t)
		got := make(chan string, 100)
		f := must(l.Follow(ctx, 0, func(e queues.LogEntry) { got <- string(e.Data) }))(t)
		defer f.Close()
		expect := func(want ...string) {
			t.Helper()
			for _, w := range want {
				if have := receive(t, ctx, got); have != w {
					t.Fatalf("next entry: got %s, want %s", have, w)
				}
			}
		}
		f.LoseRepublished(true)
		check(t, l.Append(ctx, text("a"), text("b")))
		f.LoseRepublished(false)
		check(t, l.Append(ctx, text("c"))) // its header says that b was before it
		expect("a", "b", "c")
		f.LoseRepublished(true)
		check(t, l.Append(ctx, text("d")))
		check(t, f.Ask(ctx))
		expect("d")
	})
}

func TestLogTrim(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		l := must(b.OpenLog(ctx, b.Log("me")))(t)
		check(t, l.Append(ctx, text("a"), text("b")))
		check(t, l.Trim(ctx, must(l.Last(ctx))(t)))
		check(t, l.Append(ctx, text("c")))
		var have []string
		for e, err := range l.Read(ctx, 0) {
			check(t, err)
			have = append(have, string(e.Data))
		}
		if !slices.Equal(have, []string{"c"}) {
			t.Errorf("entries after Trim: got %v, want [c]", have)
		}
	})
}

func TestTableComparesAndSets(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		table := must(b.OpenTable(ctx, b.Nodes()))(t)
		if _, err := table.Get(ctx, "k"); !errors.Is(err, queues.ErrNoRow) {
			t.Errorf("get of a key without a row: got error %v, want %v", err, queues.ErrNoRow)
		}
		first := must(table.Create(ctx, "k", []byte("1")))(t)
		if _, err := table.Create(ctx, "k", []byte("1b")); !errors.Is(err, queues.ErrRevision) {
			t.Errorf("second create: got error %v, want %v", err, queues.ErrRevision)
		}
		second := must(table.Update(ctx, "k", []byte("2"), first))(t)
		if _, err := table.Update(ctx, "k", []byte("3"), first); !errors.Is(err, queues.ErrRevision) {
			t.Errorf("update at an old revision: got error %v, want %v", err, queues.ErrRevision)
		}
		if row := must(table.Get(ctx, "k"))(t); string(row.Value) != "2" || row.Revision != second {
			t.Errorf("got row %+v, want value 2 at revision %d", row, second)
		}
		check(t, table.Delete(ctx, "k"))
		must(table.Create(ctx, "k", []byte("4")))(t)
	})
}

func TestWatchHandlesRowsThenChanges(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		table := must(b.OpenTable(ctx, b.Nodes()))(t)
		must(table.Put(ctx, "a", []byte("1")))(t)
		rows := make(chan queues.Row, 10)
		w := must(must(connect().OpenTable(ctx, b.Nodes()))(t).Watch(ctx, func(r queues.Row) { rows <- r }))(t)
		defer w.Stop()
		if len(rows) != 1 {
			t.Errorf("rows handled when Watch returned: got %d, want 1", len(rows))
		}
		receive(t, ctx, rows)
		must(table.Put(ctx, "b", []byte("2")))(t)
		check(t, table.Delete(ctx, "a"))
		if r := receive(t, ctx, rows); r.Key != "b" || string(r.Value) != "2" || r.Deleted {
			t.Errorf("got row %+v, want b = 2", r)
		}
		if r := receive(t, ctx, rows); r.Key != "a" || !r.Deleted {
			t.Errorf("got row %+v, want a, deleted", r)
		}
	})
}

func TestTopicReachesListeners(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		check(t, b.Topic("tm.beat.n1").Publish([]byte("nobody receives this")))
		got := make(chan queues.Message, 10)
		l := must(b.Topic("tm.beat.*").Listen(func(m queues.Message) { got <- m }))(t)
		defer l.Close()
		check(t, b.Topic("tm.beat.n1").Publish([]byte("x")))
		if m := receive(t, ctx, got); string(m.Data) != "x" || m.Subject != "tm.beat.n1" {
			t.Errorf("got message %+v, want x on tm.beat.n1", m)
		}
	})
}

func TestNamespaceIsOneToken(t *testing.T) {
	if _, err := queues.Connect(queues.Config{Namespace: "a.b"}); err == nil || !strings.Contains(err.Error(), "namespace") {
		t.Errorf("connect with namespace a.b: got error %v, want one about the namespace", err)
	}
}

func TestListenAddressInUseIsAnError(t *testing.T) {
	server, err := embedded.Start(embedded.Config{Listen: "127.0.0.1:0"})
	check(t, err)
	defer server.Close()
	_, err = embedded.Start(embedded.Config{Listen: strings.TrimPrefix(server.URL(), "nats://")})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("listen on an address in use: got error %v, want one that says so", err)
	}
	for _, bad := range []string{"nonsense", "host:port", "1:2:3", "x:99999"} {
		if _, err := embedded.Start(embedded.Config{Listen: bad}); err == nil {
			t.Errorf("listen on %q: got no error, want one", bad)
		}
	}
}
