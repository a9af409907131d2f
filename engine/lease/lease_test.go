package lease_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"go.uber.org/goleak"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// The server's clock for message ages must run outside of every bubble of virtual time.
func TestMain(m *testing.M) {
	ats.Register()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { ats.Unregister(); os.Exit(code) }),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

// table returns an empty table of leases on a server of its own.
func table(t *testing.T) *queues.Table {
	t.Helper()
	server, err := embedded.Start(embedded.Config{})
	check(t, err)
	t.Cleanup(server.Close)
	b, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: server})
	check(t, err)
	t.Cleanup(b.Close)
	leases, err := b.OpenTable(t.Context(), b.Leases())
	check(t, err)
	return leases
}

// put writes a row that no Lease has written.
func put(t *testing.T, table *queues.Table, row lease.Row) {
	t.Helper()
	value, err := json.Marshal(row)
	check(t, err)
	_, err = table.Put(t.Context(), "key", value)
	check(t, err)
}

func unchanged(*lease.Row) {}

// keepRenewing renews the lease until stop is called.
func keepRenewing(t *testing.T, l *lease.Lease) (stop func()) {
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(lease.RenewEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if err := l.Renew(t.Context(), unchanged); err != nil {
					t.Errorf("renew a lease that nobody else took: got %v, want nil", err)
				}
			case <-stopping:
				return
			}
		}
	}()
	return func() { close(stopping); <-stopped }
}

// While its holder renews it, a lease is refused to everybody else, and the error names the holder.
func TestALeaseHasOneHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := table(t)
		first, err := lease.Take(t.Context(), leases, "key", lease.Row{Holder: "first"})
		check(t, err)
		defer keepRenewing(t, first)()
		if _, err := lease.Take(t.Context(), leases, "key", lease.Row{Holder: "second"}); !errors.Is(err, lease.ErrHeld) || !strings.Contains(err.Error(), "first") {
			t.Errorf("Take of a lease that is held: got %v, want %v with the name of the holder, first", err, lease.ErrHeld)
		}
		if _, err := lease.Try(t.Context(), leases, "key", lease.Row{Holder: "second"}); !errors.Is(err, lease.ErrHeld) {
			t.Errorf("Try of a lease that is held: got %v, want %v", err, lease.ErrHeld)
		}
	})
}

// When the holder stops renewing, another process can take the lease after Duration, and the former holder loses it.
func TestALeaseThatIsNotRenewedCanBeTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := table(t)
		first, err := lease.Take(t.Context(), leases, "key", lease.Row{Holder: "first"})
		check(t, err)
		begun := time.Now()
		second, err := lease.Take(t.Context(), leases, "key", lease.Row{Holder: "second"})
		check(t, err)
		if took := time.Since(begun); took < lease.Duration {
			t.Errorf("the lease was taken after %s, want at least %s", took, lease.Duration)
		}
		if first.Valid(time.Now()) || !second.Valid(time.Now()) {
			t.Errorf("valid: got first %t, second %t; want false, true", first.Valid(time.Now()), second.Valid(time.Now()))
		}
		if err := first.Renew(t.Context(), unchanged); !errors.Is(err, lease.ErrLost) {
			t.Errorf("the former holder renews: got %v, want %v", err, lease.ErrLost)
		}
		if got := second.Row(); got.Run != 2 || got.Holder != "second" {
			t.Errorf("the row: got run %d of %q, want run 2 of %q", got.Run, got.Holder, "second")
		}
	})
}

// A row from another boot of an embedded server is taken without waiting: its holder died with that server.
func TestALeaseOfAnotherBootIsTakenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := table(t)
		_, err := lease.Take(t.Context(), leases, "key", lease.Row{Holder: "first", Boot: "one"})
		check(t, err)
		begun := time.Now()
		_, err = lease.Take(t.Context(), leases, "key", lease.Row{Holder: "second", Boot: "two"})
		check(t, err)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the lease was taken after %s, want at most %s", took, time.Second)
		}
	})
}

// A row that has ended is never taken again.
func TestAnEndedLeaseIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := table(t)
		put(t, leases, lease.Row{Ended: true})
		if _, err := lease.Take(t.Context(), leases, "key", lease.Row{Holder: "first"}); !errors.Is(err, lease.ErrEnded) {
			t.Errorf("Take of an ended lease: got %v, want %v", err, lease.ErrEnded)
		}
	})
}

// A renewal that was stored, but whose answer was lost, does not cost its holder the lease: the row that the next
// renewal finds is its own. A row that was marked as ended is lost, whoever wrote it.
func TestARenewalWithoutAnAnswerIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := table(t)
		l, err := lease.Take(t.Context(), leases, "key", lease.Row{Holder: "first"})
		check(t, err)
		put(t, leases, l.Row()) // the row has a revision that l has not heard of
		err = l.RenewForSure(t.Context(), func(row *lease.Row) { row.Trimmed = 7 })
		check(t, err)
		found, err := leases.Get(t.Context(), "key")
		check(t, err)
		var row lease.Row
		check(t, json.Unmarshal(found.Value, &row))
		if row.Trimmed != 7 || row != l.Row() {
			t.Errorf("the row: got %+v, want trimmed 7, and as the lease has it: %+v", row, l.Row())
		}
		row.Ended = true
		put(t, leases, row)
		if err := l.RenewForSure(t.Context(), unchanged); !errors.Is(err, lease.ErrLost) {
			t.Errorf("renew a lease that was ended by another process: got %v, want %v", err, lease.ErrLost)
		}
	})
}
