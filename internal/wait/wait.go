package wait

import (
	"context"
	"time"
)

// Signal wakes one goroutine that waits for work. Sets before the goroutine looks count as one. Make it by NewSignal.
// It is safe for concurrent use.
type Signal chan struct{}

// NewSignal returns a signal that is not set.
func NewSignal() Signal { return make(Signal, 1) }

// Set wakes the goroutine that receives from the signal, now or when it next does. It never blocks.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Broadcast wakes all goroutines that wait for a condition. The zero value is ready. It has no lock of its own: the one
// that guards the condition guards it.
type Broadcast struct{ c chan struct{} }

// C returns a channel that is closed by the next Wake.
func (b *Broadcast) C() <-chan struct{} {
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

// Wake wakes all who have called C since the last Wake.
func (b *Broadcast) Wake() {
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}

// Lock is a lock that may be held over I/O. Make it by NewLock. It is not reentrant, and not fair.
type Lock chan struct{}

// NewLock returns a lock that nobody holds.
func NewLock() Lock { return make(Lock, 1) }

// Lock waits until the lock is free and takes it.
func (l Lock) Lock() { l <- struct{}{} }

// LockContext is Lock; if ctx ends first, it returns the context's error without the lock.
func (l Lock) LockContext(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TryLock takes the lock if it is free, and reports whether it did.
func (l Lock) TryLock() bool {
	select {
	case l <- struct{}{}:
		return true
	default:
		return false
	}
}

// Unlock gives the lock up.
func (l Lock) Unlock() { <-l }

// Pause waits for d. If ctx ends first, it returns the context's error.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
