package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/memory"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// The keeper has little time for each step of its maintenance. What does not fit is gone on with, and not begun anew.

// slowTier takes a while for each value that it removes, and stops when the context ends.
type slowTier struct {
	*memory.Tier
	each time.Duration
}

func (t *slowTier) Remove(ctx context.Context, keys ...objstore.Key) error {
	for _, key := range keys {
		if err := wait.Pause(ctx, t.each); err != nil {
			return err
		}
		if err := t.Tier.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// However many objects are free, and however slow their store is, all of them are removed in the end.
func TestRemovalGoesOnWhereItWasCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const objects = 1000
		tier := &slowTier{memory.New(memory.Config{}), 10 * time.Millisecond}
		o := newObjectSet()
		o.store.Objects = objstore.NewStore(objstore.Config{Tier: tier})
		for n := range objects {
			v := task.Value{Data: fmt.Appendf(make([]byte, 2*values.InlineBytes), "%d", n)}
			acquired, err := o.externalize(t.Context(), &v, nil)
			if err != nil {
				t.Fatalf("put value %d: got %v, want nil", n, err)
			}
			o.release(acquired)
		}
		const steps = 10 // 1.9 s each, for 10 s of work
		for range steps {
			ctx, cancel := context.WithTimeout(t.Context(), stepTime)
			_ = o.removeFree(ctx)
			cancel()
		}
		if used, _ := tier.Used(); used != 0 || len(o.free) != 0 {
			t.Errorf("after %d steps of %s: got %d bytes in use, %d objects to be removed, want none", steps, stepTime, used, len(o.free))
		}
	})
}

// One object that cannot be removed keeps none of the others.
func TestAnObjectThatCannotBeRemovedKeepsNoOthers(t *testing.T) {
	o := newObjectSet()
	tier := &brokenTier{Tier: memory.New(memory.Config{})}
	o.store.Objects = objstore.NewStore(objstore.Config{Tier: tier})
	for n := range 3 {
		v := task.Value{Data: fmt.Appendf(make([]byte, 2*values.InlineBytes), "%d", n)}
		acquired, err := o.externalize(t.Context(), &v, nil)
		if err != nil || len(acquired) != 1 {
			t.Fatalf("put value %d: got %d objects, %v, want 1, nil", n, len(acquired), err)
		}
		if n == 0 {
			tier.keeps = acquired[0]
		}
		o.release(acquired)
	}
	if err := o.removeFree(t.Context()); !errors.Is(err, errTier) {
		t.Errorf("remove three objects: got %v, want %v", err, errTier)
	}
	if len(o.free) != 1 || o.free[0] != tier.keeps {
		t.Errorf("to be removed again: got %v, want %v alone", o.free, tier.keeps)
	}
}

// brokenTier does not remove one of its values.
type brokenTier struct {
	*memory.Tier
	keeps objstore.Key
}

var errTier = errors.New("the tier is broken")

func (t *brokenTier) Remove(ctx context.Context, keys ...objstore.Key) error {
	for _, key := range keys {
		if key == t.keeps {
			return errTier
		}
		if err := t.Tier.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// However many tasks are cancelled, and however often the writing of their rows is cut short, all rows are written in the
// end, and none much more often than once.
func TestCancelRowsGoOnWhereTheyWereCutShort(t *testing.T) {
	const rows = 8
	b := newBroker(t)
	table, err := b.OpenTable(t.Context(), b.Cancels())
	if err != nil {
		t.Fatalf("open the table of cancels: got %v, want nil", err)
	}
	var cut atomic.Pointer[context.CancelFunc]
	var written atomic.Int64
	w, err := table.Watch(t.Context(), func(queues.Row) {
		if n := written.Add(1); n%2 == 0 { // the row before is known to be written
			(*cut.Load())()
		}
	})
	if err != nil {
		t.Fatalf("watch the table of cancels: got %v, want nil", err)
	}
	defer w.Stop()
	r := cancelRows{table: table, keeper: wait.NewSignal()}
	for n := range uint64(rows * maxRanges) {
		r.addNumbers([]uint64{2 * n}, nil)
	}
	tries := 0
	for done := false; !done && tries < 2*rows; tries++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cut.Store(&cancel)
		done = r.flush(ctx, "me", 1) == nil
		cancel()
	}
	all, err := table.All(t.Context())
	if err != nil {
		t.Fatalf("read the table of cancels: got %v, want nil", err)
	}
	var told task.Ranges
	for _, row := range all {
		var c Cancels
		if err := json.Unmarshal(row.Value, &c); err != nil {
			t.Fatalf("row %s: got %v, want ranges", row.Key, err)
		}
		told = told.With(c.Asked)
	}
	if len(told) != rows*maxRanges || len(all) > 2*rows {
		t.Errorf("after %d tries: got %d tasks in %d rows, want %d in at most %d", tries, len(told), len(all), rows*maxRanges, 2*rows)
	}
}

// A dead letter that cannot be written keeps none of the others, and is tried again.
func TestADeadLetterThatCannotBeWrittenKeepsNoOthers(t *testing.T) {
	b := newBroker(t)
	d := deadLetters{broker: b, keeper: wait.NewSignal(), log: slog.New(slog.DiscardHandler), kept: map[string]*lettersKept{}}
	letter := func(fn string) deadLetter {
		return deadLetter{class: "cpu", failure: &task.Failure{Func: fn, Message: "no", Task: task.ID{Owner: "me", Number: 1}}, at: time.Now()}
	}
	d.add(letter("not a name"), letter("f"), letter("g"))
	if err := d.flush(t.Context()); err == nil {
		t.Error("write three dead letters, one of which names no function: got nil, want an error")
	}
	for _, fn := range []string{"f", "g"} {
		dead, err := b.OpenDead(t.Context(), "cpu", fn)
		if err != nil {
			t.Fatalf("open the dead letters of %s: got %v, want nil", fn, err)
		}
		n := 0
		for _, err := range dead.Read(t.Context(), 0) {
			if err != nil {
				t.Fatalf("read the dead letters of %s: got %v, want nil", fn, err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("dead letters of %s: got %d, want 1", fn, n)
		}
	}
	if left := d.take(); len(left) != 1 || left[0].failure.Func != "not a name" {
		t.Errorf("to be written again: got %d dead letters, want the first one alone", len(left))
	}
}

func newBroker(t *testing.T) *queues.Broker {
	t.Helper()
	server, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatalf("start a server: got %v, want nil", err)
	}
	t.Cleanup(server.Close)
	b, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: server})
	if err != nil {
		t.Fatalf("connect: got %v, want nil", err)
	}
	t.Cleanup(b.Close)
	return b
}
