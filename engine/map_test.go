package engine_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

func upTo(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

func TestMapYieldsEveryResultOnce(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := noopIn(in)
	for _, c := range []struct {
		n       int
		ordered bool
		opts    []engine.Option
	}{
		{20_000, false, nil},
		{20_000, true, []engine.Option{engine.InOrder()}},
		{500, false, []engine.Option{engine.Pending(3)}},
		{5_000, true, []engine.Option{engine.Pending(-1), engine.InOrder()}},
	} {
		n := c.n
		var got []int
		for v, err := range engine.Map(ctx, f, upTo(n), c.opts...) {
			if err != nil {
				t.Fatalf("after %d results: %v", len(got), err)
			}
			got = append(got, v)
		}
		ordered := slices.IsSorted(got)
		slices.Sort(got)
		if len(got) != n || got[0] != 0 || got[n-1] != n-1 || len(slices.Compact(got)) != n {
			t.Errorf("got %d results, want each of 0 to %d once", len(got), n-1)
		}
		if c.ordered && !ordered {
			t.Error("with InOrder: the results are not in the order of the inputs")
		}
	}
}

func TestMapYieldsFailuresAndContinues(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("third", func(_ context.Context, n int) (int, error) {
		if n%3 == 0 {
			return 0, fmt.Errorf("no %d", n)
		}
		return n, nil
	}, engine.Retries(0), in)
	var results, failures int
	for _, err := range engine.Map(ctx, f, upTo(100)) {
		if err == nil {
			results++
			continue
		}
		failures++
		_ = failure(t, err)
	}
	if results != 66 || failures != 34 {
		t.Errorf("got %d results and %d failures, want 66 and 34", results, failures)
	}
}

// Map uses the handles of yielded tasks again, also if all tasks fail and few are in flight.
func TestMapWithABoundYieldsEveryFailure(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("fails", func(context.Context, int) (int, error) { return 0, errors.New("no") }, engine.Retries(0), in)
	const n = 30_000
	got := 0
	for _, err := range engine.Map(ctx, f, upTo(n), engine.Pending(22)) {
		if got++; failure(t, err).Message != "no" {
			t.Fatalf("got failure %v, want message no", err)
		}
	}
	if got != n {
		t.Errorf("got %d failures, want %d", got, n)
	}
}

// Map yields results before it has read all inputs, and at most Pending tasks are in flight.
func TestMapReadsInputsAsItYieldsResults(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := noopIn(in)
	taken, yielded := 0, 0
	for _, err := range engine.Map(ctx, f, func(yield func(int) bool) {
		for i := range 1000 {
			if taken++; !yield(i) {
				return
			}
		}
	}, engine.Pending(10)) {
		if yielded++; err != nil || taken-yielded > 10 {
			t.Fatalf("got %d inputs read and %d results yielded, error %v; want a difference of at most 10", taken, yielded, err)
		}
	}
	// The loop body may add inputs.
	found := []int{1}
	sum := 0
	for v, err := range engine.Map(ctx, f, func(yield func(int) bool) {
		for len(found) > 0 {
			next := found[0]
			found = found[1:]
			if !yield(next) {
				return
			}
		}
	}, engine.Pending(1)) {
		if sum += v; v < 64 && err == nil {
			found = append(found, 2*v)
		}
	}
	if sum != 127 {
		t.Errorf("with inputs from the loop body: got sum %d, want 127", sum)
	}
}

func TestMapSubmitsNothingAfterABreak(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	var runs atomic.Int64
	f := engine.NewFunc("count", func(_ context.Context, n int) (int, error) { runs.Add(1); return n, nil }, in)
	taken := 0
	stopped := false
	for v, err := range engine.Map(ctx, f, func(yield func(int) bool) {
		defer func() { stopped = true }()
		for i := 0; ; i++ {
			if taken = i; !yield(i) {
				return
			}
		}
	}, engine.InOrder()) {
		if err != nil {
			t.Fatal(err)
		}
		if v == 10 {
			break
		}
	}
	if !stopped {
		t.Error("after the break, the iterator of the inputs has not ended")
	}
	before := taken
	if _, err := noopIn(in).Submit(ctx, 1).Get(ctx); err != nil { // the session still works
		t.Errorf("a submit after the break: %v", err)
	}
	if taken != before || runs.Load() > int64(before)+1 {
		t.Errorf("after the break, got %d inputs read and %d tasks run; want 0 and at most %d", taken-before, runs.Load(), before+1)
	}
}

func TestMapEndsWithItsContext(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	open(0)
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	var last error
	for v, err := range engine.Map(short, f, upTo(9)) { // tasks 1 to 8 do not end
		if last = err; err == nil && v == 0 {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("got last error %v, want %v", last, context.Canceled)
	}
	for i := 1; i <= 9; i++ {
		open(i)
	}
	taken, failures := 0, 0
	short, cancel = context.WithCancel(ctx)
	defer cancel()
	for _, err := range engine.Map(short, noopIn(in), func(yield func(int) bool) {
		for taken = 1; yield(taken); taken++ { // without end
		}
	}) {
		if cancel(); err != nil {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("got %d errors, want 1, that of the context", failures)
	}
	short, cancel = context.WithCancel(ctx)
	defer cancel()
	var keys []string
	var waiting int
	for k, ref := range engine.MapKeyed(short, f, maps.All(map[string]int{"done": 9, "waits": 10})) {
		if cancel(); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
		if _, err := ref.Get(short); errors.Is(err, context.Canceled) {
			waiting++
		}
	}
	if len(keys) != 2 || waiting != 1 {
		t.Errorf("got keys %v, %d of them of unfinished tasks; want both keys, and 1", keys, waiting)
	}
	open(10)
}

func TestMapKeyedYieldsKeysWithFinishedRefs(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := engine.NewFunc("len", func(_ context.Context, s string) (int, error) { return len(s), nil }, in)
	words := map[int]string{1: "a", 2: "bb", 3: "ccc"}
	got := map[int]int{}
	refs := map[engine.Ref[int]]bool{}
	for k, ref := range engine.MapKeyed(ctx, f, maps.All(words)) {
		select {
		case <-ref.Done(ctx):
		default:
			t.Errorf("key %d: the Ref is not done", k)
		}
		refs[ref] = true
		got[k], _ = ref.Get(ctx)
	}
	for ref := range refs { // the Refs stay valid after the loop
		if _, err := ref.Get(ctx); err != nil {
			t.Errorf("get after the loop: %v", err)
		}
	}
	if !maps.Equal(got, map[int]int{1: 1, 2: 2, 3: 3}) || len(refs) != 3 {
		t.Errorf("got results %v and %d different Refs, want the length of each word, and 3", got, len(refs))
	}
	for _, ref := range engine.MapKeyed(context.Background(), f, maps.All(words)) {
		if _, err := ref.Get(ctx); !errors.Is(err, engine.ErrNoSession) {
			t.Errorf("without a session: got error %v, want %v", err, engine.ErrNoSession)
		}
	}
}

// Map keeps no result that it has yielded: results with ten times as many bytes as the store can hold go through it.
func TestMapKeepsNoYieldedResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a result that finds no space fails after 30 s, which are virtual
		in, ctx := own(t, tidemill.Config{ObjectMemory: 2 << 20})
		f := engine.NewFunc("pad", func(_ context.Context, n int) ([]byte, error) { return make([]byte, 100_000), nil }, in, engine.Retries(0))
		const tasks = 200
		results := 0
		for v, err := range engine.Map(ctx, f, upTo(tasks), engine.Pending(8)) {
			if err != nil || len(v) != 100_000 {
				t.Fatalf("result %d: got %d bytes, error %v; want 100,000 bytes", results, len(v), err)
			}
			results++
		}
		if results != tasks {
			t.Errorf("got %d results, want %d", results, tasks)
		}
	})
}

// MapKeyed keeps no Ref that it has yielded: the garbage collector finds those that the loop does not keep, while the loop
// still runs.
func TestMapKeyedKeepsNoYieldedRefs(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f := noopIn(in)
	const tasks, pending = 2000, 10
	var collected atomic.Int64
	yielded := 0
	for _, ref := range engine.MapKeyed(ctx, f, keyed(upTo(tasks)), engine.Pending(pending)) {
		engine.OnCollect(ref, func() { collected.Add(1) })
		if yielded++; yielded < tasks-pending {
			continue
		}
		want := int64(yielded * 9 / 10) // the Map has handles of tasks in flight, and of the last few that it has yielded
		if !collectUntil(func() bool { return collected.Load() >= want }) {
			t.Fatalf("of %d yielded Refs, %d were collected, want at least %d", yielded, collected.Load(), want)
		}
		return
	}
	t.Fatalf("got %d Refs, want %d", yielded, tasks)
}

// keyed returns the inputs with themselves as their keys.
func keyed(in iter.Seq[int]) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for n := range in {
			if !yield(n, n) {
				return
			}
		}
	}
}
