package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tidemill/tidemill/engine/session"
)

var errZeroRef = errors.New("the zero Ref refers to nothing")

// GetAll waits for all values and returns them in the order of refs. The error is that of the first ref,
// by index, that has one, and names the index; the others are waited for only up to there. Sizes are known before
// anything is fetched: values of more bytes in all than the session's budget (Config.Budget) are ErrTooLarge, which
// names the total, instead of the end of this process. Completed yields them one by one.
func GetAll[T any](ctx context.Context, refs []Ref[T]) ([]T, error) {
	there, err := within(ctx, refs)
	if err != nil {
		return nil, err
	}
	values, c := make([]T, len(refs)), codecFor[T]()
	for i, r := range refs {
		if !there {
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

// within waits for all values, and returns an error if they are too large together. there is false if Get is to say what
// one of them is.
func within[T any](ctx context.Context, refs []Ref[T]) (there bool, err error) {
	s, err := session.From(ctx)
	if err != nil {
		return false, nil //nolint:nilerr // Get says it better; inside a task, what came with the input is here
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
			return false, nil //nolint:nilerr // Get says it better
		}
		if total += n; total > s.Budget() && len(refs) > 1 {
			total += sizesOf(ctx, refs[i+1:])
			return false, wrap("get all", fmt.Errorf("%w: the %d values have %d bytes or more together, and the budget is %d: take them one by one, or raise Config.Budget",
				ErrTooLarge, len(refs), total, s.Budget()))
		}
	}
	return true, nil
}

// sizesOf adds up what is known of the rest without waiting.
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

// Wait returns when n of the refs are done (all, if there are fewer), and says which are and which are
// not, both in the order of refs; more than n may be ready. The error says only that the waiting ended
// before: what is ready then is returned too. Failures come from Get.
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

// Completed yields each ref once, as it is done; a ref that stands twice in refs comes twice. The error
// says only that the waiting ended, and comes with the zero Ref, last. Failures come from Get.
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
