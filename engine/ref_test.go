package engine_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
)

// everywhere has Refs in all places where a type may have them.
type everywhere struct {
	One    engine.Ref[int]
	Some   []engine.Ref[string]
	Array  [2]engine.Ref[int]
	ByName map[string]engine.Ref[int]
	Maybe  *engine.Ref[int]
	None   engine.Ref[int]
	Inner  enclosure
	Deep   []map[string]*enclosure
	Next   *everywhere
	Plain  string
	private
}

type enclosure struct {
	Ref  engine.Ref[[]byte]
	Note string `cbor:"n,omitempty"`
}

type private struct{ Hidden engine.Ref[int] }

// Refs anywhere in an input are dependencies: their values exist when the task runs.
func TestRefsAnywhereInAnInput(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	number := engine.NewFunc("number", func(_ context.Context, n int) (int, error) { return n, nil }, in)
	words := engine.NewFunc("words", func(_ context.Context, n int) (string, error) { return strings.Repeat("w", n), nil }, in)
	read := engine.NewFunc("read", func(ctx context.Context, l everywhere) (map[string]int, error) {
		out := map[string]int{}
		get := func(name string, r engine.Ref[int]) {
			v, err := r.Get(ctx)
			if err != nil {
				v = -1
			}
			out[name] = v
		}
		get("one", l.One)
		get("array", l.Array[1])
		get("map", l.ByName["b"])
		get("maybe", *l.Maybe)
		get("none", l.None)
		get("next", l.Next.One)
		get("hidden", l.Hidden)
		for _, r := range l.Some {
			s, err := r.Get(ctx)
			if err != nil {
				return nil, err
			}
			out["some"] += len(s)
		}
		for _, e := range []enclosure{l.Inner, *l.Deep[0]["x"]} {
			b, err := e.Ref.Get(ctx)
			if err != nil {
				return nil, err
			}
			out["bytes"] += len(b)
		}
		if l.One == l.Array[0] && l.Plain == "as it is" && l.Inner.Note == "note" {
			out["same"] = 1
		}
		return out, nil
	}, in)
	one, maybe := number.Submit(ctx, 1), number.Submit(ctx, 5)
	large := engine.Put(ctx, make([]byte, 200_000))
	got, err := read.Submit(ctx, everywhere{
		One: one, Some: []engine.Ref[string]{words.Submit(ctx, 3), words.Submit(ctx, 100_000)},
		Array: [2]engine.Ref[int]{one, number.Submit(ctx, 2)}, ByName: map[string]engine.Ref[int]{"a": one, "b": number.Submit(ctx, 3)},
		Maybe: &maybe, Inner: enclosure{large, "note"}, Deep: []map[string]*enclosure{{"x": {Ref: engine.Put(ctx, []byte("four"))}}},
		Next: &everywhere{One: number.Submit(ctx, 7), Maybe: nil}, Plain: "as it is", private: private{number.Submit(ctx, 8)},
	}).Get(ctx)
	want := map[string]int{
		"one": 1, "array": 2, "map": 3, "maybe": 5, "none": -1, "next": 7, "hidden": 8, "some": 100_003, "bytes": 200_004, "same": 1,
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got  %v, error %v\nwant %v", got, err, want)
	}
}

// A task is dispatched when the Refs that it depends on are done: in chains, in diamonds, and with many Refs in one input.
func TestSubmitRef(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	add := engine.NewFunc("add", func(_ context.Context, n int) (int, error) { return n + 1, nil }, in)
	sum := engine.NewFunc("sum", func(ctx context.Context, refs []engine.Ref[int]) (int, error) {
		total := 0
		for _, r := range refs {
			v, err := r.Get(ctx)
			if err != nil {
				return 0, err
			}
			total += v
		}
		return total, nil
	}, in)
	const long = 10_000
	ref := add.Submit(ctx, 0)
	for range long - 1 {
		ref = add.SubmitRef(ctx, ref)
	}
	if v, err := ref.Get(ctx); v != long || err != nil {
		t.Errorf("a chain of %[1]d tasks: got %[2]d, error %[3]v; want %[1]d", long, v, err)
	}
	var wide []engine.Ref[int]
	for n := range long {
		wide = append(wide, add.Submit(ctx, n))
	}
	if v, err := sum.Submit(ctx, wide).Get(ctx); v != long*(long+1)/2 || err != nil {
		t.Errorf("an input of %d Refs: got sum %d, error %v; want %d", long, v, err, long*(long+1)/2)
	}
	top := add.Submit(ctx, 0)
	left, right := add.SubmitRef(ctx, top), add.SubmitRef(ctx, top)
	if v, err := sum.Submit(ctx, []engine.Ref[int]{left, right, left}).Get(ctx); v != 6 || err != nil {
		t.Errorf("a diamond: got %d, error %v; want 6", v, err)
	}
	if _, err := add.SubmitRef(ctx, engine.Ref[int]{}).Get(ctx); err == nil {
		t.Error("SubmitRef of the zero Ref: got no error")
	}
}

// If a task fails, those that depend on it fail too, with the causes, of which the last is the first task that failed.
func TestFailedInput(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	f, open := gate(t, in)
	add := engine.NewFunc("add", func(_ context.Context, n int) (int, error) { return n + 1, nil }, in)
	bad := engine.NewFunc("bad", func(context.Context, int) (int, error) { return 0, errors.New("no space left") }, engine.Retries(0), in)
	first := add.SubmitRef(ctx, bad.Submit(ctx, 1))
	last := first
	for range 10_000 {
		last = add.SubmitRef(ctx, last)
	}
	_, err := last.Get(ctx)
	got := failure(t, err)
	if got.Kind != task.KindDependency || len(got.Causes) != task.MaxCauses || got.Causes[task.MaxCauses-1].Func != "bad" {
		t.Errorf("got failure %+v, want kind %v, and %d causes, the last of bad", got, task.KindDependency, task.MaxCauses)
	}
	contains(t, err.Error(), "at the root, bad (task 1): no space left")
	_, err = add.SubmitRef(ctx, first).Get(ctx) // its input has failed already
	contains(t, err.Error(), "add (task 2), which failed", "no space left")

	waiting := f.Submit(ctx, 0)
	behind := add.SubmitRef(ctx, waiting)
	if err := waiting.Cancel(ctx); err != nil {
		t.Errorf("cancel: %v", err)
	}
	if _, err := behind.Get(ctx); !errors.Is(err, engine.ErrCancelled) || failure(t, err).Kind != task.KindDependency {
		t.Errorf("a task that depends on a cancelled one: got error %v, want %v, kind %v", err, engine.ErrCancelled, task.KindDependency)
	}
	open(0)
	if _, err := add.Submit(ctx, 1, engine.Timeout(-1)).Get(ctx); err == nil {
		t.Error("submit with an invalid option: got no error")
	} else if _, err := add.SubmitRef(ctx, add.Submit(ctx, 1, engine.Timeout(-1))).Get(ctx); err == nil {
		t.Error("a task that depends on one that could not be submitted: got no error")
	}
}

// A result may contain Refs from the input. The caller gets the same Ref for the same value, and it stays valid when the
// original Ref is released.
func TestRefsInAResult(t *testing.T) {
	in, ctx := own(t, tidemill.Config{})
	pick := engine.NewFunc("pick", func(_ context.Context, refs []engine.Ref[string]) (map[string]engine.Ref[string], error) {
		return map[string]engine.Ref[string]{"first": refs[0], "last": refs[len(refs)-1], "again": refs[0]}, nil
	}, in)
	small, large := engine.Put(ctx, "small"), engine.Put(ctx, strings.Repeat("large", 100_000))
	ref := pick.Submit(ctx, []engine.Ref[string]{small, engine.Put(ctx, "middle"), large})
	got, err := ref.Get(ctx)
	if err != nil {
		t.Fatalf("pick: %v", err)
	}
	small.Release()
	large.Release()
	if v, err := got["last"].Get(ctx); len(v) != 500_000 || err != nil {
		t.Errorf("a large value: got %d bytes, error %v; want 500,000", len(v), err)
	}
	if v, err := got["first"].Get(ctx); v != "small" || err != nil {
		t.Errorf("a small value: got %q, error %v; want small", v, err)
	}
	again, err := ref.Get(ctx)
	if err != nil || again["first"] != got["first"] || got["again"] != got["first"] || got["first"] == got["last"] {
		t.Errorf("a second Get: got error %v, Refs %v; want the same Refs as before, one for each value", err, again)
	}
	length := engine.NewFunc("length", func(_ context.Context, s string) (int, error) { return len(s), nil }, in)
	if n, err := length.SubmitRef(ctx, got["last"]).Get(ctx); n != 500_000 || err != nil {
		t.Errorf("the Ref as an input: got length %d, error %v; want 500,000", n, err)
	}
}

// Every encoder and decoder except the engine's refuses a Ref, and printing it does not identify its value.
func TestOutOfBand(t *testing.T) {
	_, ctx := own(t, tidemill.Config{})
	ref := engine.Put(ctx, 7)
	holder := struct{ Ref engine.Ref[int] }{ref}
	for name, encode := range map[string]func(v any) error{
		"json": func(v any) error { _, err := json.Marshal(v); return err },
		"cbor": func(v any) error { _, err := cbor.Marshal(v); return err },
		"gob":  func(v any) error { return gob.NewEncoder(new(bytes.Buffer)).Encode(v) },
	} {
		for _, v := range []any{ref, &ref, holder, []engine.Ref[int]{ref}, engine.Ref[int]{}} {
			if err := encode(v); err == nil || !strings.Contains(err.Error(), engine.ErrOutOfBand.Error()) {
				t.Errorf("%s of a %T: got error %v, want %v", name, v, err, engine.ErrOutOfBand)
			}
		}
	}
	var back engine.Ref[int]
	for name, err := range map[string]error{
		"json": json.Unmarshal([]byte(`{}`), &back), "text": back.UnmarshalText(nil), "binary": back.UnmarshalBinary(nil),
		"gob": back.GobDecode(nil), "cbor": cbor.Unmarshal([]byte{7}, &back),
	} {
		if !errors.Is(err, engine.ErrOutOfBand) {
			t.Errorf("decode %s: got error %v, want %v", name, err, engine.ErrOutOfBand)
		}
	}
	for _, s := range []string{fmt.Sprint(ref), fmt.Sprintf("%+v", holder), fmt.Sprintf("%#x", ref)} {
		contains(t, s, "Ref[int](valid only in its program: see Export)")
	}
}

// GetAll knows the total size of the values before it fetches them, and refuses more than its budget.
func TestGetAllHasABudget(t *testing.T) {
	_, ctx := own(t, tidemill.Config{Budget: 1_000_000})
	var refs []engine.Ref[[]byte]
	for range 3 {
		refs = append(refs, engine.Put(ctx, make([]byte, 400_000)))
	}
	if _, err := engine.GetAll(ctx, refs); !errors.Is(err, engine.ErrTooLarge) || !strings.Contains(err.Error(), "at least 1200000 bytes in total, and the budget is 1000000") {
		t.Errorf("three values: got error %v, want %v, with the total and the budget", err, engine.ErrTooLarge)
	}
	if all, err := engine.GetAll(ctx, refs[:2]); len(all) != 2 || err != nil {
		t.Errorf("two values: got %d, error %v; want 2", len(all), err)
	}
	for r, err := range engine.Completed(ctx, refs) {
		if b, err2 := r.Get(ctx); len(b) != 400_000 || err != nil || err2 != nil {
			t.Errorf("one at a time: got %d bytes, errors %v, %v; want 400,000", len(b), err, err2)
		}
	}
}
