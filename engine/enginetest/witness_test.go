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

// Witness is a second reader of the driver's logs, on a connection without faults: it folds by the rule
// alone that the first final entry of a task is its outcome.
type Witness struct {
	mu       sync.Mutex
	decided  map[key]bool       // guarded by mu
	results  map[int]bool       // guarded by mu; first final entries that are results, which are all different
	large    int                // guarded by mu; results that are kept elsewhere
	failures map[task.ID]string // guarded by mu; first final entries that are none
}

// key names a task: by its number, in a named job by its digest.
type key struct {
	owner  string
	number uint64
	digest task.Digest
}

// NewWitness begins to read what the cluster of ctx tells of records.
func NewWitness(ctx context.Context, t *testing.T) *Witness {
	t.Helper()
	c := ctx.Value(clusterKey{}).(*cluster)
	w := &Witness{decided: map[key]bool{}, results: map[int]bool{}, failures: map[task.ID]string{}}
	conn, err := nats.Connect("", nats.InProcessServer(c.server), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if _, err := conn.Subscribe("tm.told.0.>", func(m *nats.Msg) { w.read(t, m.Data) }); err != nil {
		t.Fatal(err)
	}
	synctest.Wait() // until the server has it
	return w
}

func (w *Witness) read(t *testing.T, data []byte) {
	var rec task.Record
	if err := task.DecodeRecord(data, &rec); err != nil {
		t.Errorf("a record cannot be read: %v", err)
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

// note notes a result. A large one is known by its task alone: by now it may have been let go of. mu is held.
func (w *Witness) note(t *testing.T, e *task.Entry) {
	if e.Value.Object() != nil {
		w.large++
		return
	}
	var r struct{ Value int }
	if err := cbor.Unmarshal(e.Value.Data, &r); err != nil {
		t.Errorf("a result cannot be read: %v", err)
	}
	w.results[r.Value] = true
}

func inWords(f *task.Failure) string {
	if f == nil {
		return ""
	}
	return fmt.Sprint(f.Kind, ": ", f.Message)
}

// Agrees returns an error if the witness has not read this outcome of a task of the driver as the first one.
func (w *Witness) Agrees(value int, large bool, failure error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if failure == nil {
		if !w.results[value] && !large {
			return fmt.Errorf("the result %d is no first final entry", value)
		}
		return nil
	}
	var f *task.Failure
	if !errors.As(failure, &f) {
		return fmt.Errorf("it has ended without an outcome: %w", failure)
	}
	if f.Task.Number == 0 {
		return nil // what it needs had failed before: it never became a task
	}
	if got := w.failures[f.Task]; got != inWords(f) {
		return fmt.Errorf("the driver has %q, and another reader %q", inWords(f), got)
	}
	return nil
}

// Subscriptions returns how many the cluster's server has.
func Subscriptions(ctx context.Context) int {
	return ctx.Value(clusterKey{}).(*cluster).server.Subscriptions()
}

// DeadLetters returns how many there are of a function of the class cpu.
func DeadLetters(ctx context.Context, t *testing.T, fn string) (n int) {
	t.Helper()
	dead, err := ctx.Value(clusterKey{}).(*cluster).broker.OpenDead(ctx, "cpu", fn)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range dead.Read(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// Published returns how many batches of the class cpu there were in all.
func Published(ctx context.Context, t *testing.T) uint64 {
	t.Helper()
	c := ctx.Value(clusterKey{}).(*cluster)
	conn, err := nats.Connect("", nats.InProcessServer(c.server))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, c.broker.Batches("cpu", "normal").Stream)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

// Messages returns how many messages the cluster's server has had and has sent.
func Messages(ctx context.Context) int64 {
	in, out := ctx.Value(clusterKey{}).(*cluster).server.Messages()
	return in + out
}
