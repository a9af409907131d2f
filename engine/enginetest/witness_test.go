package enginetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/fxamacker/cbor/v2"
	"github.com/nats-io/nats.go"

	"github.com/tidemill/tidemill/engine/task"
)

// Witness is a second reader of the driver's logs, on a connection without faults: it folds by the rule
// alone that the first final entry of a task is its outcome.
type Witness struct {
	mu     sync.Mutex
	tasks  map[uint64][]verdict // guarded by mu; by number; one for each name that the driver had
	owners map[string]int       // guarded by mu; names in order of appearance
}

// verdict is an outcome under one name of the driver.
type verdict struct {
	owner   string
	state   task.State
	value   string
	failure string
}

// NewWitness begins to read what the cluster of ctx tells of records.
func NewWitness(ctx context.Context, t *testing.T) *Witness {
	t.Helper()
	c := ctx.Value(clusterKey{}).(*cluster)
	w := &Witness{tasks: map[uint64][]verdict{}, owners: map[string]int{}}
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
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range rec.Entries {
		e := &rec.Entries[i]
		if e.State.Final() && !w.decided(e.Number, rec.Owner) {
			v := verdict{owner: rec.Owner, state: e.State, value: string(e.Value.Data)}
			if e.Failure != nil {
				v.failure = fmt.Sprint(e.Failure.Kind, ": ", e.Failure.Message)
			}
			w.tasks[e.Number] = append(w.tasks[e.Number], v)
		}
	}
}

func (w *Witness) decided(number uint64, owner string) bool {
	for _, v := range w.tasks[number] {
		if v.owner == owner {
			return true
		}
	}
	return false
}

// Agrees returns an error if the witness has read another outcome of the driver's task of that number.
// After the driver has lost its lease it goes by another name, and either's outcome may be the one.
func (w *Witness) Agrees(number uint64, value int, failure error) error {
	encoded, err := cbor.Marshal(value)
	if err != nil {
		return err
	}
	want := verdict{state: task.OK, value: string(encoded)}
	if failure != nil {
		var f *task.Failure
		if !errors.As(failure, &f) {
			return fmt.Errorf("it has ended without an outcome: %w", failure)
		}
		want = verdict{state: task.Failed, failure: fmt.Sprint(f.Kind, ": ", f.Message)}
		if f.Kind == task.KindCancelled {
			want.state = task.Cancelled
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, got := range w.tasks[number] {
		want.owner = got.owner
		if got == want {
			return nil
		}
	}
	return fmt.Errorf("the driver has %+v, and another reader %+v", want, w.tasks[number])
}

// Subscriptions returns how many the cluster's server has.
func Subscriptions(ctx context.Context) int {
	return ctx.Value(clusterKey{}).(*cluster).server.Subscriptions()
}
