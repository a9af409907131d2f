package engine

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
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

// Get waits for the value and returns it: a new copy each time (Arrow data is shared, and must not be changed). The
// error is the task's failure (*task.Failure), the failure to submit it, or the context's error; the task goes on
// if only the waiting ended. Inside a task, Get of a Ref that came with its input returns at once, and Get of a nested
// task runs that on the caller's goroutine, or lends the task's CPUs while it waits.
func (r Ref[T]) Get(ctx context.Context) (T, error) {
	if err := r.wait(ctx); err != nil {
		var zero T
		return zero, err
	}
	return decoded(ctx, r.h, codecFor[T]())
}

// wait waits for the value, or returns why Get can have none.
func (r Ref[T]) wait(ctx context.Context) error {
	if r.h == nil {
		return wrap("get", errZeroRef)
	}
	if err := r.h.NotSubmitted(); err != nil {
		return err
	}
	if _, local := r.h.Value(); local {
		return nil
	}
	if _, err := session.From(ctx); err != nil {
		return wrap("get", err)
	}
	if err := r.h.Wait(ctx); err != nil {
		return wrap("get", err)
	}
	return nil
}

// decoded returns the value of a task that has ended.
func decoded[T any](ctx context.Context, h *session.Handle, c codec[T]) (T, error) {
	var zero T
	var v task.Value
	if err := h.Outcome(ctx, &v); err != nil {
		return zero, wrap("get", err)
	}
	out, err := c.decode(&v, inside{of: h})
	if err != nil {
		return zero, &task.Failure{Kind: task.KindOutput, Message: "decode the result: " + err.Error()}
	}
	return out, nil
}

// Done returns a channel that is closed when Get will not wait any more. A Ref that refers to nothing is
// done. Inside a task, the slot is lent until the channel is closed.
func (r Ref[T]) Done(ctx context.Context) <-chan struct{} {
	if r.h == nil {
		return failed[T](errZeroRef).h.Done()
	}
	return r.h.DoneIn(ctx)
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

// Put makes a Ref to a value that is there already. It is encoded before Put returns, so the caller may change it
// afterwards, and what is large of it is kept in the object store: the same bytes once. Refs in the value are waited
// for. A failure is in the Ref: what cannot be encoded, a store without room.
func Put[T any](ctx context.Context, v T) Ref[T] {
	s, err := session.From(ctx)
	if err == nil {
		err = checkType[T]("value")
	}
	if err != nil {
		return failed[T](wrap("put", err))
	}
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	c := codecFor[T]()
	var encoded task.Value
	refs, err := c.toSubmit(&encoded, scratch, v)
	if err != nil {
		return failed[T](wrap("put", err))
	}
	if len(encoded.Data) <= values.InlineBytes {
		encoded.Data = append([]byte(nil), encoded.Data...)
	}
	return Ref[T]{h: s.Put(ctx, encoded, refs)}
}

// Export makes a copy of the value that other programs and later runs can have by the token, until ttl is over: the
// deliberate way out for a value. It waits for the value. What is exported by a cluster in memory is gone with it.
func (r Ref[T]) Export(ctx context.Context, ttl time.Duration) (token string, err error) {
	s, err := session.From(ctx)
	switch {
	case err != nil:
	case r.h == nil:
		err = errZeroRef
	default:
		token, err = s.Export(ctx, r.h, ttl)
	}
	if err != nil {
		return "", wrap("export", err)
	}
	return token, nil
}

// Import makes a Ref to a value that was exported, and is of type T: Get says if it is not. The error is ErrNoExport
// when its time is over, or nothing was exported under this token. The Ref is of a copy, which stays when the
// export's time is over; so importing moves the bytes once.
func Import[T any](ctx context.Context, token string) (Ref[T], error) {
	s, err := session.From(ctx)
	var h *session.Handle
	if err == nil {
		h, err = s.Import(ctx, token)
	}
	if err != nil {
		return Ref[T]{}, wrap("import", err)
	}
	return Ref[T]{h: h}, nil
}
