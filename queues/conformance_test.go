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

// settings are the ways in which the carriers are set up; every test of the contract runs in each.
var settings = []struct {
	name    string
	storage queues.Storage
	listen  string
}{
	{"memory", queues.Memory, ""},
	{"files", queues.Files, ""},
	{"memory, over TCP", queues.Memory, "127.0.0.1:0"},
}

// conform runs a test of the contract in every setting. Afterwards nothing is left running.
func conform(t *testing.T, test func(t *testing.T, ctx context.Context, connect func() *queues.Broker)) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			server, err := embedded.Start(embedded.Config{Listen: s.listen, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
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
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, b)
				return b
			})
		})
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receive returns the next value, or fails when the test's time is over.
func receive[T any](t *testing.T, ctx context.Context, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-ctx.Done():
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func text(s string) queues.Message { return queues.Message{Data: []byte(s)} }

func TestQueueGivesEachMessageToOneConsumer(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		sender, a, b := connect(), connect(), connect()
		name := sender.Batches("cpu=4-gpu=0_5", "normal")
		q := must(sender.OpenQueue(ctx, name))(t)
		got := make(chan string, 100)
		for _, broker := range []*queues.Broker{a, b} {
			p := must(broker.OpenQueue(ctx, name))(t).Pull(func(d *queues.Delivery) {
				check(t, d.Ack())
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
			t.Errorf("got %v", have)
		}
	})
}

func TestQueueDeliversAsManyAsWereAskedFor(t *testing.T) {
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
				t.Errorf("credit %d after %d of %d came", c, n, n)
			}
		}
		check(t, q.Publish(ctx, text("beyond"))) // an answer from the server: nothing else is on its way
		if len(got) > 0 {
			t.Errorf("%d messages came beyond the credit", len(got))
		}
	})
}

func TestQueueCreditCanBeTakenBack(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		q := must(b.OpenQueue(ctx, b.Batches("cpu", "normal")))(t)
		got := make(chan string, 100)
		pull := func(name string) *queues.Puller {
			return q.Pull(func(d *queues.Delivery) {
				check(t, d.Ack())
				got <- name + " " + string(d.Data)
			})
		}
		p, other := pull("p"), pull("other")
		defer p.Stop()
		defer other.Stop()
		check(t, p.Ask(10))
		check(t, q.Publish(ctx, text("1")))
		if m := receive(t, ctx, got); m != "p 1" {
			t.Error(m)
		}
		p.Recall()
		if c := p.Credit(); c != 0 {
			t.Errorf("credit %d after all was taken back", c)
		}
		check(t, other.Ask(1))
		check(t, q.Publish(ctx, text("2")))
		if m := receive(t, ctx, got); m != "other 2" {
			t.Error(m)
		}
		check(t, p.Ask(1))
		check(t, q.Publish(ctx, text("3")))
		if m := receive(t, ctx, got); m != "p 3" {
			t.Error(m)
		}
	})
}

func TestQueueDeliversAgainWhatIsGivenBackAndCounts(t *testing.T) {
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
			t.Errorf("first %+v, second %+v", first, second)
		}
		check(t, second.Ack())
	})
}

func TestQueueSendToNoStreamIsRefused(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		q := must(b.OpenQueue(ctx, b.Batches("cpu", "normal")))(t)
		check(t, q.DeleteStream(ctx))
		if err := q.Publish(ctx, text("x")); !errors.Is(err, queues.ErrNoStream) {
			t.Errorf("got %v, want ErrNoStream", err)
		}
		if err := q.Publish(ctx, text(strings.Repeat("x", b.MaxPayload()+1))); err == nil {
			t.Error("a message beyond the payload limit was taken")
		}
	})
}

func TestSendEndsWhenTheBrokerCloses(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		q := must(b.OpenQueue(ctx, b.Batches("cpu", "normal")))(t)
		b.Close()
		if err := q.Publish(ctx, text("x")); !errors.Is(err, queues.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

func TestLogIsReadInOrderByEveryReader(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		writer, reader := connect(), connect()
		l := must(writer.OpenLog(ctx, writer.Log("me")))(t)
		other := must(writer.OpenLog(ctx, writer.Log("other")))(t)
		var want []string
		for i := range 600 { // more than one request of Read brings
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
			t.Errorf("read %d of %d: %v", len(have), len(want), have)
		}
		if last := must(mine.Last(ctx))(t); last != sequences[len(sequences)-1] {
			t.Errorf("last is %d, read up to %d", last, sequences[len(sequences)-1])
		}
	})
}

// A follower that starts late, beside a writer, misses nothing and sees nothing twice.
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
					t.Error(err)
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
				t.Fatalf("at %d came %s", i, have)
			}
		}
	})
}

// What was not told is found by the next message's chain, or by asking.
func TestFollowerFillsWhatItWasNotTold(t *testing.T) {
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
					t.Fatalf("came %s, want %s", have, w)
				}
			}
		}
		f.Deafen(true)
		check(t, l.Append(ctx, text("a"), text("b")))
		f.Deafen(false)
		check(t, l.Append(ctx, text("c"))) // says that b came before
		expect("a", "b", "c")
		f.Deafen(true)
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
			t.Errorf("left is %v", have)
		}
	})
}

func TestTableComparesAndSets(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		table := must(b.OpenTable(ctx, b.Nodes()))(t)
		if _, err := table.Get(ctx, "k"); !errors.Is(err, queues.ErrNoRow) {
			t.Errorf("get of nothing: %v", err)
		}
		first := must(table.Create(ctx, "k", []byte("1")))(t)
		if _, err := table.Create(ctx, "k", []byte("1b")); !errors.Is(err, queues.ErrRevision) {
			t.Errorf("second create: %v", err)
		}
		second := must(table.Update(ctx, "k", []byte("2"), first))(t)
		if _, err := table.Update(ctx, "k", []byte("3"), first); !errors.Is(err, queues.ErrRevision) {
			t.Errorf("update at an old revision: %v", err)
		}
		if row := must(table.Get(ctx, "k"))(t); string(row.Value) != "2" || row.Revision != second {
			t.Errorf("row %+v", row)
		}
		check(t, table.Delete(ctx, "k"))
		must(table.Create(ctx, "k", []byte("4")))(t)
	})
}

func TestTableWatchTellsWhatIsThereThenWhatChanges(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		table := must(b.OpenTable(ctx, b.Nodes()))(t)
		must(table.Put(ctx, "a", []byte("1")))(t)
		rows := make(chan queues.Row, 10)
		w := must(must(connect().OpenTable(ctx, b.Nodes()))(t).Watch(ctx, func(r queues.Row) { rows <- r }))(t)
		defer w.Stop()
		if len(rows) != 1 {
			t.Errorf("%d rows when Watch returned, want 1", len(rows))
		}
		receive(t, ctx, rows)
		must(table.Put(ctx, "b", []byte("2")))(t)
		check(t, table.Delete(ctx, "a"))
		if r := receive(t, ctx, rows); r.Key != "b" || string(r.Value) != "2" || r.Deleted {
			t.Errorf("row %+v", r)
		}
		if r := receive(t, ctx, rows); r.Key != "a" || !r.Deleted {
			t.Errorf("row %+v", r)
		}
	})
}

func TestTopicTellsWhoListens(t *testing.T) {
	conform(t, func(t *testing.T, ctx context.Context, connect func() *queues.Broker) {
		b := connect()
		check(t, b.Topic("tm.beat.n1").Publish([]byte("nobody hears this")))
		got := make(chan queues.Message, 10)
		l := must(b.Topic("tm.beat.*").Listen(func(m queues.Message) { got <- m }))(t)
		defer l.Close()
		check(t, b.Topic("tm.beat.n1").Publish([]byte("x")))
		if m := receive(t, ctx, got); string(m.Data) != "x" || m.Subject != "tm.beat.n1" {
			t.Errorf("heard %+v", m)
		}
	})
}

func TestNamespaceIsOneToken(t *testing.T) {
	if _, err := queues.Connect(queues.Config{Namespace: "a.b"}); err == nil || !strings.Contains(err.Error(), "namespace") {
		t.Errorf("got %v", err)
	}
}

func TestListenAddressInUseIsAnError(t *testing.T) {
	server, err := embedded.Start(embedded.Config{Listen: "127.0.0.1:0"})
	check(t, err)
	defer server.Close()
	_, err = embedded.Start(embedded.Config{Listen: strings.TrimPrefix(server.URL(), "nats://")})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"nonsense", "host:port", "1:2:3", "x:99999"} {
		if _, err := embedded.Start(embedded.Config{Listen: bad}); err == nil {
			t.Errorf("listen %q: no error", bad)
		}
	}
}
