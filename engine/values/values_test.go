package values_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/memory"
)

// Objects that refer to themselves are refused at bounded cost: nothing of them is lost. One whose size differs from that in
// the reference is lost.
func TestHostileObjects(t *testing.T) {
	store := objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})})
	vs := values.Store{Objects: store, Most: 1 << 20}
	put := func(data []byte, key objstore.Key) *task.Object {
		t.Helper()
		if err := store.PutAs(t.Context(), key, objstore.NewContent(data)); err != nil {
			t.Fatalf("put %d bytes: got error %v, want none", len(data), err)
		}
		return &task.Object{Scope: key.Scope, ID: key.ID, Size: int64(len(data))}
	}
	loop := func(refer func(o *task.Object) task.Value) task.Value {
		key, size := objstore.Key{Scope: "s", ID: objstore.Fresh()}, int64(0)
		var data []byte
		for range 3 { // until it has its own size in it
			v := refer(&task.Object{Scope: key.Scope, ID: key.ID, Size: size})
			data = task.AppendValue(nil, &v)
			size = int64(len(data))
		}
		return task.Value{Type: task.Bundle, External: &task.External{Object: put(data, key)}}
	}
	bundle := func(o *task.Object) task.Value {
		return task.Value{Type: task.Bundle, External: &task.External{Object: o}}
	}
	honest := put(bytes.Repeat([]byte("x"), 100), objstore.Key{Scope: "s", ID: objstore.Fresh()})
	lie := *honest
	lie.Size = 7
	for name, c := range map[string]struct {
		v    task.Value
		want task.Kind
	}{
		"a bundle of itself": {loop(bundle), task.KindInput},
		"a value that refers to itself": {loop(func(o *task.Object) task.Value {
			return task.Value{External: &task.External{Refs: []task.Value{bundle(o)}}}
		}), task.KindTooLarge},
		"two references to itself": {loop(func(o *task.Object) task.Value {
			return task.Value{External: &task.External{Refs: []task.Value{bundle(o), bundle(o)}}}
		}), task.KindTooLarge},
		"another size": {task.Value{External: &task.External{Object: &lie}}, task.KindObjectLost},
	} {
		_, _, err := vs.Fetch(t.Context(), c.v, math.MaxInt64)
		if f, ok := errors.AsType[*task.Failure](err); !ok || f.Kind != c.want {
			t.Errorf("%s: got error %v, want a failure of kind %v", name, err, c.want)
		}
	}
	if v, pins, err := vs.Fetch(t.Context(), task.Value{External: &task.External{Object: honest}}, 100); len(v.Data) != 100 || pins.Bytes != 100 || err != nil {
		t.Errorf("fetch 100 bytes with room for 100: got %d bytes, %d pinned, %v, want 100, 100, nil", len(v.Data), pins.Bytes, err)
	}
	if _, _, err := vs.Fetch(t.Context(), task.Value{External: &task.External{Object: honest}}, 99); !errors.Is(err, values.ErrNoRoom) {
		t.Errorf("fetch 100 bytes with room for 99: got %v, want %v", err, values.ErrNoRoom)
	}
}

// A value is refused before it is written, if with its references it has more of them than a reader accepts. Parts that are
// bundles of their own count for themselves.
func TestTooManyReferencesAreRefusedWhenTheyAreWritten(t *testing.T) {
	vs := values.Store{Objects: objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})}), Most: 1 << 20}
	refs := func(n int, each task.Value) task.Value {
		return task.Value{Data: []byte{7}, External: &task.External{Refs: slices.Repeat([]task.Value{each}, n)}}
	}
	one := task.Value{Data: []byte{7}}
	for name, c := range map[string]struct {
		v    task.Value
		want error
	}{
		"as many as a bundle may have": {refs(task.MaxRefs, one), nil},
		"one more":                     {refs(task.MaxRefs+1, one), task.ErrTooLarge},
		"small lists":                  {refs(task.MaxRefs/2+1, refs(1, one)), task.ErrTooLarge},
		"large lists":                  {refs(3, refs(task.MaxRefs/2, one)), nil},
	} {
		fit, err := vs.Fit(t.Context(), "s", c.v, false)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got error %v, want %v", name, err, c.want)
		}
		if err == nil {
			if _, err = vs.Read(t.Context(), fit); err != nil {
				t.Errorf("%s: read: got error %v, want none", name, err)
			}
		}
	}
}
