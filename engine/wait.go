package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tidemill/tidemill/engine/session"
)

var errZeroRef = errors.New("the zero Ref refers to nothing: use a Ref from Submit, Put or Import")

// GetAll waits for all values and returns them in the order of refs. It waits in that order, and returns the error of the
// first ref that has one, with its index. It knows the sizes before it fetches a value: if there are more bytes in total
// than Config.Budget allows, the error is ErrTooLarge, with the total, and the process does not run out of memory. Use
// Completed to get such values one at a time. If ctx ends first, GetAll returns its error; the tasks continue.
func GetAll[T any](ctx context.Context, refs []Ref[T]) ([]T, error) {
	ended, err := waitWithinBudget(ctx, refs)
	if err != nil {
		return nil, err
	}
	values, c := make([]T, len(refs)), codecOf[T]()
	for i, r := range refs {
		if !ended {
			err = r.wait(ctx)
		}
		if err == nil {
			values[i], err = decoded(ctx, r.h, c)
		}
		if err != nil {
			return nil, fmt.Errorf("ref %d of %d: %w", i, len(refs), err)
		}
	}
	return values, nil
}

// waitWithinBudget waits for all values, and returns an error if they exceed the budget together. If it cannot tell, ended
// is false, and the caller must wait for each ref, which then says what is wrong with it.
func waitWithinBudget[T any](ctx context.Context, refs []Ref[T]) (ended bool, err error) {
	s, err := session.From(ctx)
	if err != nil {
		return false, nil //nolint:nilerr // Ref.wait returns this error, or none for a Ref from a task's input, which needs no session
	}
	total := int64(0)
	for i, r := range refs {
		if r.h == nil {
			return false, nil
		}
		if err := r.h.Wait(ctx); err != nil {
			return false, wrap(fmt.Sprintf("get all: ref %d of %d", i, len(refs)), err)
		}
		n, err := r.h.Size(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // decoded returns this error, with the ref's index
		}
		if total += n; total > s.Budget() && len(refs) > 1 {
			total += sizesOf(ctx, refs[i+1:])
			return false, wrap("get all", fmt.Errorf("%w: the %d values have at least %d bytes in total, and the budget is %d: get them one at a time (Completed), or raise Config.Budget",
				ErrTooLarge, len(refs), total, s.Budget()))
		}
	}
	return true, nil
}

// sizesOf returns the total size of those values that exist already, in bytes.
func sizesOf[T any](ctx context.Context, refs []Ref[T]) (total int64) {
	for _, r := range refs {
		if r.h != nil && r.h.Ended() {
			if n, err := r.h.Size(ctx); err == nil {
				total += n
			}
		}
	}
	return total
}

// Wait waits until n of the refs are done, or all of them if there are fewer, and returns which are done and which are not,
// both in the order of refs. More than n may be ready. With n = 0 it returns at once. If ctx ends first, Wait returns its
// error together with what is ready by then. The failure of a task is not an error of Wait: Get returns it. If the context
// has no session, or one of the refs is the zero Ref, nothing is ready.
func Wait[T any](ctx context.Context, refs []Ref[T], n int) (ready, pending []Ref[T], err error) {
	done, err := watch(ctx, refs)
	if err != nil {
		return nil, refs, wrap("wait", err)
	}
	defer done.Close()
	var scratch []*session.Handle
	for have := 0; have < min(n, len(refs)); have += len(scratch) {
		if scratch, err = done.Take(ctx, scratch); err != nil {
			err = wrap("wait", err)
			break
		}
	}
	for _, r := range refs {
		if r.h.Ended() {
			ready = append(ready, r)
		} else {
			pending = append(pending, r)
		}
	}
	return ready, pending, err
}

// Completed yields each ref when it is done, in the order of completion. A ref that is in refs twice is yielded twice. If ctx
// ends first, the last pair has its error and the zero Ref. The failure of a task is not an error of Completed: Get
// returns it.
func Completed[T any](ctx context.Context, refs []Ref[T]) iter.Seq2[Ref[T], error] {
	return func(yield func(Ref[T], error) bool) {
		done, err := watch(ctx, refs)
		if err != nil {
			yield(Ref[T]{}, wrap("wait", err))
			return
		}
		defer done.Close()
		var batch []*session.Handle
		for left := len(refs); left > 0; left -= len(batch) {
			if batch, err = done.Take(ctx, batch); err != nil {
				yield(Ref[T]{}, wrap("wait", err))
				return
			}
			for _, h := range batch {
				if !yield(Ref[T]{h: h}, nil) {
					return
				}
			}
		}
	}
}

// watch returns the completions of all refs. The caller must close them.
func watch[T any](ctx context.Context, refs []Ref[T]) (*session.Completions, error) {
	if _, err := session.From(ctx); err != nil {
		return nil, err
	}
	for i, r := range refs {
		if r.h == nil {
			return nil, fmt.Errorf("ref %d of %d: %w", i, len(refs), errZeroRef)
		}
	}
	done := session.NewCompletions()
	for _, r := range refs {
		done.Watch(r.h)
	}
	return done, nil
}
