package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// Ref is a reference to a value of type T: the result of a task, which may not exist yet, or a value that was Put. It is
// small and may be copied. Two Refs are equal if they refer to the same value. A Ref is safe for concurrent use. The zero
// Ref refers to nothing: waiting for it, cancelling and exporting it are errors, and Release does nothing.
//
// A Ref anywhere in the input of a task is a dependency: the task is dispatched when the value exists. The session keeps
// a value while a Ref to it is reachable, or a task needs it.
type Ref[T any] struct {
	_ [0]*T // makes Ref[A] and Ref[B] types that cannot be converted into each other
	h *session.Handle
}

// failed returns a Ref whose Get returns the error.
func failed[T any](err error) Ref[T] { return Ref[T]{h: session.Failed(err)} }

// Get waits for the value and returns a new copy of it. Arrow data is not copied: it is shared and must not be changed. The
// error is the failure of the task (*task.Failure), the reason why it could not be submitted, ErrReleased after Release,
// or the error of ctx if it ended first; the task then continues, and Get may be called again.
//
// Inside a function, Get of a Ref from its input does not wait. Get of a nested task that has not started runs it on the
// calling goroutine; otherwise the calling task gives up its CPUs while it waits.
func (r Ref[T]) Get(ctx context.Context) (T, error) {
	if err := r.wait(ctx); err != nil {
		var zero T
		return zero, err
	}
	return decoded(ctx, r.h, codecOf[T]())
}

// wait waits until the value or the failure exists. Its error says why there is nothing to wait for, or that ctx ended.
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
		return wrap("get"+whose(r.h), err)
	}
	if err := r.h.Wait(ctx); err != nil {
		return wrap("get"+whose(r.h), err)
	}
	return nil
}

// whose names the task that the handle is of, with a space in front; it returns "" for a value that no task has made.
func whose(h *session.Handle) string {
	fn, id := h.Task()
	switch {
	case fn == "":
		return ""
	case id.IsZero():
		return " " + fn
	}
	return fmt.Sprintf(" %s (task %s)", fn, id)
}

// decoded returns the value behind a handle that has ended.
func decoded[T any](ctx context.Context, h *session.Handle, c codec[T]) (T, error) {
	var zero T
	var v task.Value
	if err := h.Outcome(ctx, &v); err != nil {
		return zero, wrap("get"+whose(h), err)
	}
	out, err := c.decode(&v, refSource{handle: h})
	if err != nil {
		return zero, badOutcome(h, err)
	}
	return out, nil
}

// badOutcome is the failure of a value that cannot be decoded.
func badOutcome(h *session.Handle, err error) error {
	name, version := h.Func() // none if it was put or imported
	f := &task.Failure{Kind: task.KindOutput, Message: undecodable("result", name, version, err)}
	f.Func, f.Task = h.Task()
	if name != "" && h.Resumed() {
		f.Message += " (a former run of the job has recorded it: give the function another Version when its result type changes)"
	}
	return f
}

// Done returns a channel that is closed when the value or the failure exists, so that Get does not wait. For the zero Ref it
// is closed already. With the context of a running function, the calling task gives up its CPUs from the call of Done
// until the channel is closed.
func (r Ref[T]) Done(ctx context.Context) <-chan struct{} {
	if r.h == nil {
		return failed[T](errZeroRef).h.Done()
	}
	return r.h.DoneIn(ctx)
}

// Cancel requests that the task be cancelled, and returns nil when the task has an outcome. That is ErrCancelled, or the
// result or failure if it was recorded first: use Get to see which. It is the task's own session that cancels it, whichever
// session ctx carries: that of another cluster, of a task, or none; if that session was closed before the task had an
// outcome, the error is ErrClosed. A running attempt has its context cancelled, and
// agents that have received the request start no further attempt. If ctx ends first, Cancel returns its error, and the
// request remains in effect. Cancelling a task again, or one that has ended, has no effect.
func (r Ref[T]) Cancel(ctx context.Context) error {
	if r.h == nil {
		return wrap("cancel", errZeroRef)
	}
	if err := r.h.Cancel(ctx); err != nil {
		return wrap("cancel"+whose(r.h), err)
	}
	return nil
}

// Resumed reports whether the outcome was recorded by an earlier run of the named job, so that the task did not run in
// this one.
func (r Ref[T]) Resumed() bool { return r.h != nil && r.h.Resumed() }

// Release frees the memory of the value, at once or when the task ends. Get on any Ref to the value then returns
// ErrReleased; a failure is still returned. The task is not cancelled, and tasks that have the Ref in their inputs still
// get the value. Release is optional: a value is freed too when the last Ref to it is garbage collected. Releasing twice
// has no effect.
func (r Ref[T]) Release() {
	if r.h != nil {
		r.h.Release()
	}
}

// Put returns a Ref to a copy of v, so that many tasks can share the value without sending it with each. The value is encoded
// before Put returns, so the caller may change it afterwards. A large value (over 64 KiB) goes into the object store, which
// keeps equal values once; Put waits while the store is full. The value may contain Refs: the new Ref is done when their
// values exist. Get returns the error if the value cannot be encoded or stored.
func Put[T any](ctx context.Context, v T) Ref[T] {
	s, err := session.From(ctx)
	if err == nil {
		err = checkType[T]("value")
	}
	if err != nil {
		return failed[T](wrap("put", err))
	}
	scratch := scratchBuffers.Get().(*[]byte)
	defer scratchBuffers.Put(scratch)
	c := codecOf[T]()
	var encoded task.Value
	refs, err := c.encodeInput(&encoded, scratch, v)
	if err != nil {
		return failed[T](wrap("put", err))
	}
	if len(encoded.Data) <= values.InlineBytes {
		encoded.Data = append([]byte(nil), encoded.Data...)
	}
	return Ref[T]{h: s.Put(ctx, encoded, refs)}
}

// Export waits for the value, stores a copy of it for the duration ttl, and returns a token for Import. Other programs that
// connect to the cluster, and later runs, can use the token. The copy of a cluster without Config.Dir is gone when the
// cluster closes.
func (r Ref[T]) Export(ctx context.Context, ttl time.Duration) (token string, err error) {
	s, err := session.From(ctx)
	what := "export"
	switch {
	case err != nil:
	case r.h == nil:
		err = errZeroRef
	default:
		what += whose(r.h)
		token, err = s.Export(ctx, r.h, ttl)
	}
	if err != nil {
		return "", wrap(what, err)
	}
	return token, nil
}

// Import returns a Ref to a copy of an exported value. Importing copies the bytes once, and the copy stays valid after the
// export has expired. The error is ErrNoExport if nothing was exported under the token, or if it has expired. If the
// value is not of type T, Get returns an error.
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
