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
			return false, wrap(fmt.Sprintf("get all: ref %d of %d%s", i, len(refs), whose(r.h)), err)
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
	if err := waitable(ctx, refs); err != nil {
		return nil, refs, wrap("wait", err)
	}
	if n = min(n, len(refs)); countEnded(refs, n) < n {
		err = awaitSome(ctx, refs, n)
	}
	for _, r := range refs {
		if r.h.Ended() {
			ready = append(ready, r)
		} else {
			if pending == nil {
				pending = make([]Ref[T], 0, len(refs)-len(ready))
			}
			pending = append(pending, r)
		}
	}
	return ready, pending, err
}

// countEnded returns how many of the refs are done, or most if there are more.
func countEnded[T any](refs []Ref[T], most int) (n int) {
	for i := 0; i < len(refs) && n < most; i++ {
		if refs[i].h.Ended() {
			n++
		}
	}
	return n
}

// manyRefs is from how many refs on Wait looks at all of them whenever tasks end, and does not watch each: a loop that waits
// for one of 50,000 again and again would otherwise spend its time on watching all of them anew.
const manyRefs = 2048

// awaitSome waits until n of the refs are done.
func awaitSome[T any](ctx context.Context, refs []Ref[T], n int) error {
	if s, err := session.From(ctx); err == nil && len(refs) >= manyRefs && session.TaskIn(ctx) == nil && allOf(s, refs) {
		return awaitLooking(ctx, s, refs, n)
	}
	done := watch(refs)
	defer done.Close()
	var scratch []*session.Handle
	var err error
	for have := 0; have < n; have += len(scratch) {
		if scratch, err = done.Take(ctx, scratch); err != nil {
			return wrap("wait", err)
		}
	}
	return nil
}

// allOf reports whether each ref is done, or is of the session: others would end without a word from it.
func allOf[T any](s *session.Session, refs []Ref[T]) bool {
	for _, r := range refs {
		if !r.h.Ended() && !s.Submitted(r.h) {
			return false
		}
	}
	return true
}

// awaitLooking is awaitSome for many refs of one session.
func awaitLooking[T any](ctx context.Context, s *session.Session, refs []Ref[T], n int) error {
	for {
		some := s.SomeEnded() // before the look, or an end could be missed
		if countEnded(refs, n) >= n {
			return nil
		}
		select {
		case <-some:
		case <-ctx.Done():
			return wrap("wait", ctx.Err())
		}
	}
}

// Completed yields each ref when it is done, in the order of completion. A ref that is in refs twice is yielded twice. If ctx
// ends first, the last pair has its error and the zero Ref. The failure of a task is not an error of Completed: Get
// returns it.
func Completed[T any](ctx context.Context, refs []Ref[T]) iter.Seq2[Ref[T], error] {
	return func(yield func(Ref[T], error) bool) {
		err := waitable(ctx, refs)
		if err != nil {
			yield(Ref[T]{}, wrap("wait", err))
			return
		}
		done := watch(refs)
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

// waitable returns why the refs cannot be waited for.
func waitable[T any](ctx context.Context, refs []Ref[T]) error {
	if _, err := session.From(ctx); err != nil {
		return err
	}
	for i, r := range refs {
		if r.h == nil {
			return fmt.Errorf("ref %d of %d: %w", i, len(refs), errZeroRef)
		}
	}
	return nil
}

// watch returns the completions of all refs. The caller must close them.
func watch[T any](refs []Ref[T]) *session.Completions {
	done := session.NewCompletions()
	var some [256]*session.Handle
	for len(refs) > 0 {
		n := min(len(refs), len(some))
		for i, r := range refs[:n] {
			some[i] = r.h
		}
		done.Watch(some[:n]...)
		refs = refs[n:]
	}
	return done
}
