package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// Put returns a handle of a value that is there already. What is too large of it for messages is put into the
// store; what it refers to is waited for. v.Data may be changed afterwards if it is larger than values.InlineBytes, and
// belongs to the handle otherwise.
func (s *Session) Put(ctx context.Context, v task.Value, refs []*Handle) *Handle {
	h, err := s.put(ctx, v, refs)
	if _, failed := errors.AsType[*task.Failure](err); err != nil && !failed {
		err = &OpError{"put a value", err}
	}
	if err != nil {
		return Failed(err)
	}
	return h
}

func (s *Session) put(ctx context.Context, v task.Value, refs []*Handle) (*Handle, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	if err := s.cfg.Full(); err != nil {
		return nil, err
	}
	if err := s.awaitValues(ctx, refs); err != nil {
		return nil, err
	}
	held, err := s.withRefsHeld(&v, refs)
	if err != nil {
		return nil, err
	}
	acquired, err := s.externalize(ctx, &v, held)
	defer s.objects.release(acquired)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.broken
	}
	if err != nil {
		return nil, err
	}
	h := s.newValueLocked(v)
	if s.resume != nil {
		h.named = &named{digest: valueDigest(&v)}
	}
	return h, nil
}

// externalize makes the value fit into messages, as objectSet.externalize does, unless the session is closed meanwhile.
func (s *Session) externalize(ctx context.Context, v *task.Value, held objectKeys) (acquired objectKeys, err error) {
	if values.IsSmall(v) {
		return s.objects.externalize(ctx, v, held)
	}
	err = s.whileOpen(ctx, func(ctx context.Context) error {
		acquired, err = s.objects.externalize(ctx, v, held)
		return err
	})
	return acquired, err
}

// awaitValues waits until the values of all handles are known.
func (s *Session) awaitValues(ctx context.Context, handles []*Handle) error {
	var known task.Value
	for i, h := range handles {
		if err := s.owns(h); err != nil {
			return err
		}
		if err := h.Wait(ctx); err != nil {
			return err
		}
		if err := h.known(ctx, &known); err != nil {
			return becauseOf(err, i)
		}
	}
	return nil
}

// withRefsHeld adds to the value to what it refers, and acquires all its objects.
func (s *Session) withRefsHeld(v *task.Value, refs []*Handle) (objectKeys, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := usable(refs); err != nil {
		return nil, err
	}
	*v = withRefs(*v, refs)
	return s.objects.acquire(v), nil
}

// newValueLocked returns a handle of a value that is no task's result. Session.mu is held.
func (s *Session) newValueLocked(v task.Value) *Handle {
	h := &Handle{s: s}
	h.content = v
	h.ended.Store(true)
	h.holdObjects()
	return h
}

// usable returns why an input cannot refer to these: one has failed, or was released. Session.mu is held.
func usable(deps []*Handle) error {
	for i, d := range deps {
		switch {
		case !d.ended.Load():
		case d.failure != nil:
			return becauseOf(d.failure, i)
		case d.released && d.needed == 0:
			return becauseOf(ErrReleased, i)
		}
	}
	return nil
}

// becauseOf returns the failure of what refers to a value that failed.
func becauseOf(err error, index int) error {
	if f, ok := errors.AsType[*task.Failure](err); ok {
		return task.Because(f)
	}
	return fmt.Errorf("the value of reference %d in it: %w", index, err)
}

// dependencyFailure returns the failure of a task whose input refers to one that has failed, or is about to. Session.mu is
// held.
func dependencyFailure(cause *Handle) *task.Failure {
	f := &task.Failure{Kind: task.KindError, Message: "it failed"}
	if cause.extra != nil && cause.extra.doomed != nil {
		f = cause.extra.doomed
	}
	if cause.failure != nil {
		its, failed := errors.AsType[*task.Failure](cause.failure)
		if f = its; !failed {
			f = task.FailureOf(cause.failure)
		}
	}
	named := *f
	named.Func, named.Task.Number = cause.route.call.Func, cause.number
	return task.Because(&named)
}

var errOtherSession = errors.New("the Ref is of another session, that of a cluster or of a node's tasks, and means nothing here: Export it there and Import it here, or pass the value")

// owns returns an error unless the handle is the session's, or a literal.
func (s *Session) owns(h *Handle) error {
	if h.s != nil && h.s != s {
		return errOtherSession
	}
	return nil
}
