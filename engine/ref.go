package engine

import (
	"context"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// Ref refers to a value of type T that exists or will: a task's result, or what was Put. It is small,
// comparable (two Refs are equal if they refer to the same task) and may be copied. The zero Ref refers
// to nothing, and its methods say so.
//
// The session keeps a result for as long as a Ref to it is reachable.
type Ref[T any] struct {
	_ [0]*T // Refs of different types do not convert
	h *session.Handle
}

func failed[T any](err error) Ref[T] { return Ref[T]{h: session.Failed(err)} }

// Get waits for the value and returns it: a new copy each time. The error is the task's failure
// (*task.Failure), the failure to submit it, or the context's error; the task goes on if only the
// waiting ended.
func (r Ref[T]) Get(ctx context.Context) (T, error) {
	var zero T
	if r.h == nil {
		return zero, wrap("get", errZeroRef)
	}
	if err := r.h.NotSubmitted(); err != nil {
		return zero, err
	}
	if _, err := session.From(ctx); err != nil {
		return zero, wrap("get", err)
	}
	if err := r.h.Wait(ctx); err != nil {
		return zero, wrap("get", err)
	}
	return value[T](ctx, r.h)
}

// value returns the outcome of a handle that has one.
func value[T any](ctx context.Context, h *session.Handle) (T, error) {
	var zero T
	v, err := h.Outcome(ctx)
	if err != nil {
		return zero, wrap("get", err)
	}
	c := codecFor[T]()
	out, err := c.decode(v)
	if err != nil {
		return zero, &task.Failure{Kind: task.KindOutput, Message: "decode the result: " + err.Error()}
	}
	return out, nil
}

// Done returns a channel that is closed when Get will not wait any more. A Ref that refers to nothing is
// done.
func (r Ref[T]) Done(context.Context) <-chan struct{} {
	if r.h == nil {
		return failed[T](errZeroRef).h.Done()
	}
	return r.h.Done()
}

// Cancel asks for the task's cancellation, and returns when the task has an outcome: ErrCancelled, or the
// result or failure that was recorded first, so that nil does not say which. No attempt starts any more
// on an agent that has heard of it; one that runs has its context cancelled. If ctx ends before there is
// an outcome, its error is returned, and the request stands. Cancelling again, or too late, does nothing.
func (r Ref[T]) Cancel(ctx context.Context) error {
	if r.h == nil {
		return wrap("cancel", errZeroRef)
	}
	s, err := session.From(ctx)
	if err == nil {
		err = s.Cancel(ctx, r.h)
	}
	if err != nil {
		return wrap("cancel", err)
	}
	return nil
}

// Resumed reports whether the result was recorded by a former run of the named job: the task did not run
// in this one.
func (r Ref[T]) Resumed() bool { return r.h != nil && r.h.Resumed() }

// Release gives the value up: its memory is free, now or when the task has ended, and Get returns
// ErrReleased (a failure stays). The task itself goes on. It is optional, since a value that no Ref refers to any more is
// collected.
func (r Ref[T]) Release() {
	if r.h != nil {
		r.h.Release()
	}
}

// A Ref means nothing outside of its program, so every encoding refuses it.

// MarshalJSON returns ErrOutOfBand.
func (r Ref[T]) MarshalJSON() ([]byte, error) { return nil, ErrOutOfBand }

// MarshalText returns ErrOutOfBand.
func (r Ref[T]) MarshalText() ([]byte, error) { return nil, ErrOutOfBand }

// MarshalBinary returns ErrOutOfBand.
func (r Ref[T]) MarshalBinary() ([]byte, error) { return nil, ErrOutOfBand }

// MarshalCBOR returns ErrOutOfBand.
func (r Ref[T]) MarshalCBOR() ([]byte, error) { return nil, ErrOutOfBand }

// GobEncode returns ErrOutOfBand.
func (r Ref[T]) GobEncode() ([]byte, error) { return nil, ErrOutOfBand }

// Put makes a Ref to a value that is there already, of the size that fits into a message. A failure to
// encode it is in the Ref.
func Put[T any](ctx context.Context, v T) Ref[T] {
	s, err := session.From(ctx)
	if err != nil {
		return failed[T](wrap("put", err))
	}
	if err := checkType[T]("value"); err != nil {
		return failed[T](wrap("put", err))
	}
	c := codecFor[T]()
	encoded, err := c.encode(nil, v)
	if err == nil {
		err = s.Fits(encoded)
	}
	if err != nil {
		return failed[T](wrap("put", err))
	}
	return Ref[T]{h: s.Resolved(encoded)}
}
