package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/internal/wait"
)

// Sets that nobody has looked at yet wake one goroutine once.
func TestSignal(t *testing.T) {
	s := wait.NewSignal()
	s.Set()
	s.Set()
	<-s
	select {
	case <-s:
		t.Error("the signal is set after one receive for two sets, want it unset")
	default:
	}
}

// A wake reaches everybody who waits, and nobody who begins to wait afterwards.
func TestBroadcast(t *testing.T) {
	var b wait.Broadcast
	b.Wake() // nobody waits
	first, second := b.C(), b.C()
	b.Wake()
	<-first
	<-second
	select {
	case <-b.C():
		t.Error("a wait that began after Wake has ended, want it to go on")
	default:
	}
}

// One goroutine holds the lock at a time; who waits for it can give up, and virtual time goes on meanwhile.
func TestLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := wait.NewLock()
		if !l.TryLock() {
			t.Fatal("TryLock of a free lock: got false, want true")
		}
		if l.TryLock() {
			t.Error("TryLock of a lock that is held: got true, want false")
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { failed <- l.LockContext(ctx) }()
		synctest.Wait() // returns, since the goroutine is durably blocked
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("LockContext after cancel: got %v, want %v", err, context.Canceled)
		}
		held := make(chan struct{})
		go func() { l.Lock(); close(held) }()
		synctest.Wait()
		l.Unlock()
		<-held
		l.Unlock()
		if err := l.LockContext(t.Context()); err != nil {
			t.Errorf("LockContext of a free lock: got %v, want nil", err)
		}
	})
}

// A pause takes its time, or ends with its context.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := wait.Pause(t.Context(), time.Minute); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("Pause: got %v after %s, want nil after %s", err, time.Since(begun), time.Minute)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		if err := wait.Pause(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
			t.Errorf("Pause: got %v after %s, want %v after %s", err, time.Since(begun), context.DeadlineExceeded, time.Second)
		}
	})
}
