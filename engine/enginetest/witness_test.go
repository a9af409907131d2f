package enginetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/fxamacker/cbor/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemill/tidemill/engine/task"
)

// Witness is a second reader of the driver's log, on a connection without faults. It knows one rule: the first final
// entry of a task is its outcome.
type Witness struct {
	mu       sync.Mutex
	decided  map[key]bool       // tasks that have a final entry; guarded by mu
	results  map[int]bool       // inline results among the first final entries, all of them different; guarded by mu
	failures map[task.ID]string // failures among the first final entries; guarded by mu
}

// key identifies a task by its number, or in a named job by its digest.
type key struct {
	owner  string
	number uint64
	digest task.Digest
}

// NewWitness begins to read the records that the cluster of ctx republishes.
func NewWitness(ctx context.Context, t *testing.T) *Witness {
	t.Helper()
	c := of(ctx)
	w := &Witness{decided: map[key]bool{}, results: map[int]bool{}, failures: map[task.ID]string{}}
	conn, err := nats.Connect("", nats.InProcessServer(c.server), nats.NoReconnect())
	if err != nil {
		t.Fatalf("connect the witness: %v", err)
	}
	t.Cleanup(conn.Close)
	if _, err := conn.Subscribe("tm.told.0.>", func(m *nats.Msg) { w.read(t, m.Data) }); err != nil {
		t.Fatalf("subscribe the witness: %v", err)
	}
	synctest.Wait() // until the server has the subscription
	return w
}

func (w *Witness) read(t *testing.T, data []byte) {
	var rec task.Record
	if err := task.DecodeRecord(data, &rec); err != nil {
		t.Errorf("decode a record: %v", err)
		return
	}
	rec.Owner = strings.Clone(rec.Owner)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range rec.Entries {
		e := &rec.Entries[i]
		k := key{owner: rec.Owner, digest: e.Digest}
		if e.Digest == (task.Digest{}) {
			k.number = e.Number
		}
		if !e.State.Final() || w.decided[k] {
			continue
		}
		w.decided[k] = true
		if e.State == task.OK {
			w.note(t, e)
		} else {
			w.failures[task.ID{Owner: rec.Owner, Number: e.Number}] = inWords(e.Failure)
		}
	}
}

// note keeps a result. An external one is not read: its object may have been removed by now. w.mu is held.
func (w *Witness) note(t *testing.T, e *task.Entry) {
	if e.Value.Object() != nil {
		return
	}
	var r struct{ Value int }
	if err := cbor.Unmarshal(e.Value.Data, &r); err != nil {
		t.Errorf("decode a result: %v", err)
	}
	w.results[r.Value] = true
}

func inWords(f *task.Failure) string {
	if f == nil {
		return ""
	}
	return fmt.Sprint(f.Kind, ": ", f.Message)
}

// Agrees returns an error if this outcome, which the driver has of a task, is not the first that the witness has read. An
// external result is not compared.
func (w *Witness) Agrees(value int, external bool, failure error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if failure == nil {
		if !w.results[value] && !external {
			return fmt.Errorf("the driver has the result %d, which is not the first final entry of any task", value)
		}
		return nil
	}
	var f *task.Failure
	if !errors.As(failure, &f) {
		return fmt.Errorf("the driver has no outcome of the task, but the error %w", failure)
	}
	if f.Task.Number == 0 {
		return nil // a task that it needs had failed before it was submitted
	}
	if got := w.failures[f.Task]; got != inWords(f) {
		return fmt.Errorf("the driver has the failure %q, the first final entry is %q", inWords(f), got)
	}
	return nil
}

// Subscriptions returns how many subscriptions the cluster's server has.
func Subscriptions(ctx context.Context) int {
	return of(ctx).server.Subscriptions()
}

// DeadLetters returns how many dead letters there are of a function of the class cpu.
func DeadLetters(ctx context.Context, t *testing.T, fn string) (n int) {
	t.Helper()
	dead, err := of(ctx).broker.OpenDead(ctx, "cpu", fn)
	if err != nil {
		t.Fatalf("open the dead letters of %s: %v", fn, err)
	}
	for _, err := range dead.Read(ctx, 0) {
		if err != nil {
			t.Fatalf("read the dead letters of %s: %v", fn, err)
		}
		n++
	}
	return n
}

// Published returns how many batches of the class cpu were ever published.
func Published(ctx context.Context, t *testing.T) uint64 {
	t.Helper()
	c := of(ctx)
	conn, err := nats.Connect("", nats.InProcessServer(c.server))
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatalf("JetStream: %v", err)
	}
	name := c.broker.Batches("cpu", "normal").Stream
	stream, err := js.Stream(ctx, name)
	if err != nil {
		t.Fatalf("stream %s: %v", name, err)
	}
	return stream.CachedInfo().State.LastSeq
}

// Messages returns how many messages the cluster's server has received and sent.
func Messages(ctx context.Context) int64 {
	in, out := of(ctx).server.Messages()
	return in + out
}
