package values_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/memory"
)

// Objects that refer to themselves, or lie about their sizes, are damaged; and cost no more than that.
func TestHostileObjects(t *testing.T) {
	store := objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{})})
	vs := values.Store{Objects: store, Most: 1 << 20}
	put := func(data []byte, key objstore.Key) *task.Object {
		t.Helper()
		if err := store.PutAs(t.Context(), key, objstore.NewContent(data)); err != nil {
			t.Fatal(err)
		}
		return &task.Object{Scope: key.Scope, ID: key.ID, Size: int64(len(data))}
	}
	loop := func(refer func(o *task.Object) task.Value) task.Value {
		key, size := objstore.Key{Scope: "s", ID: objstore.Fresh()}, int64(0)
		var data []byte
		for range 3 { // until its size is that with its size in it
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
	for name, v := range map[string]task.Value{
		"a bundle of itself": loop(bundle),
		"a value with itself in it": loop(func(o *task.Object) task.Value {
			return task.Value{External: &task.External{Refs: []task.Value{bundle(o)}}}
		}),
		"two of it, to the power of": loop(func(o *task.Object) task.Value {
			return task.Value{External: &task.External{Refs: []task.Value{bundle(o), bundle(o)}}}
		}),
		"another size": {External: &task.External{Object: &lie}},
	} {
		_, _, err := vs.Fetch(t.Context(), v, math.MaxInt64)
		if f, ok := errors.AsType[*task.Failure](err); !ok || f.Kind != task.KindObjectLost {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, pins, err := vs.Fetch(t.Context(), task.Value{External: &task.External{Object: honest}}, 100); len(v.Data) != 100 || pins.Bytes != 100 || err != nil {
		t.Error(len(v.Data), pins.Bytes, err)
	}
	if _, _, err := vs.Fetch(t.Context(), task.Value{External: &task.External{Object: honest}}, 99); !errors.Is(err, values.ErrNoRoom) {
		t.Error(err)
	}
}
