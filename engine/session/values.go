package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/objstore"
)

// Bounds on what of a value travels inside messages.
const (
	// InlineBytes is the most that one value has in a message; a larger one is put into the store.
	InlineBytes = 64 << 10
	// bundleBytes is the most that a value has there with all it refers to; beyond that it is put as a whole.
	bundleBytes = 1 << 20
)

// Values turn values that are too large for messages into objects, and back. It is what sessions and agents do
// alike.
type Values struct {
	Store *objstore.Store // nil = there is none, and what does not fit into a message is too large
	Most  int             // bytes of a value in a message, where there is no store
}

// Fit returns the value so that it fits into messages: what is too large of it is put into the store under the
// scope. Shared bytes are known by their content and kept once; v.Data may be changed afterwards. Others become
// the store's, and must not be changed.
func (x Values) Fit(ctx context.Context, scope string, v task.Value, shared bool) (task.Value, error) {
	if x.Store == nil {
		if n := v.Inline(); n > x.Most {
			return v, tooLarge(n, x.Most)
		}
		return v, nil
	}
	if len(v.Data) <= InlineBytes && v.Far == nil {
		return v, nil
	}
	refs := v.Refs()
	for i := range refs {
		fit, err := x.Fit(ctx, scope, refs[i], shared)
		if err != nil {
			return v, err
		}
		refs[i] = fit
	}
	if v.Object() != nil { // it is there already
		v.Data = nil
	}
	if len(v.Data) > InlineBytes {
		o, err := x.put(ctx, scope, v.Data, shared)
		if err != nil {
			return v, err
		}
		v.Data, v.Far = nil, &task.Far{Object: o, Refs: refs}
	}
	if v.Inline() <= bundleBytes {
		return v, nil
	}
	return x.bundle(ctx, scope, v)
}

func (x Values) put(ctx context.Context, scope string, data []byte, shared bool) (*task.Object, error) {
	var key objstore.Key
	var err error
	failpoint.Hit("store.before")
	if shared {
		key, err = x.Store.PutShared(ctx, scope, data)
	} else {
		key, err = x.Store.Put(ctx, scope, data)
	}
	failpoint.Hit("store.after")
	if err != nil {
		return nil, failureOf(err, "put a value of %d bytes", len(data))
	}
	return &task.Object{Scope: key.Scope, ID: key.ID, Size: int64(len(data))}, nil
}

// bundle puts a value with all it refers to. The objects in it are named beside, for who holds them.
func (x Values) bundle(ctx context.Context, scope string, v task.Value) (task.Value, error) {
	var inside []task.Value
	v.Objects(func(o *task.Object) bool {
		inside = append(inside, task.Value{Far: &task.Far{Object: o}})
		return true
	})
	o, err := x.put(ctx, scope, task.AppendValue(nil, &v), false)
	return task.Value{Type: task.Bundle, Far: &task.Far{Object: o, Refs: inside}}, err
}

// Fetch returns the value with all its bytes at hand, and those of what it refers to. Objects stay named, so that
// it can be passed on without being put again. The pins are to be released when the value was used; its bytes
// stay as they are all the same.
func (x Values) Fetch(ctx context.Context, v task.Value) (task.Value, []*objstore.Pin, error) {
	if v.Far == nil && v.Type != task.Bundle {
		return v, nil, nil
	}
	var pins []*objstore.Pin
	v, err := x.fetch(ctx, v, &pins)
	if err != nil {
		Unpin(pins)
		return v, nil, err
	}
	return v, pins, nil
}

// Unpin releases pins.
func Unpin(pins []*objstore.Pin) {
	for _, p := range pins {
		p.Release()
	}
}

func (x Values) fetch(ctx context.Context, v task.Value, pins *[]*objstore.Pin) (task.Value, error) {
	if o := v.Object(); o != nil {
		if x.Store == nil {
			return v, failureOf(objstore.ErrNotFound, "get %s", o)
		}
		pin, err := x.Store.Get(ctx, KeyOf(o))
		if err != nil {
			return v, failureOf(err, "get %s", o)
		}
		*pins = append(*pins, pin)
		v.Data = pin.Bytes()
		if int64(len(v.Data)) != o.Size {
			return v, failureOf(objstore.ErrDamaged, "get %s: it has %d bytes", o, len(v.Data))
		}
	}
	if v.Type == task.Bundle {
		inner, err := task.DecodeValue(v.Data)
		if err != nil {
			return v, failureOf(objstore.ErrDamaged, "%v", err)
		}
		return x.fetch(ctx, inner, pins)
	}
	if len(v.Refs()) == 0 {
		return v, nil
	}
	far := &task.Far{Object: v.Far.Object, Refs: make([]task.Value, len(v.Far.Refs))}
	for i, ref := range v.Far.Refs {
		filled, err := x.fetch(ctx, ref, pins)
		if err != nil {
			return v, err
		}
		far.Refs[i] = filled
	}
	v.Far = far
	return v, nil
}

// KeyOf returns the object's key.
func KeyOf(o *task.Object) objstore.Key { return objstore.Key{Scope: o.Scope, ID: o.ID} }

// failureOf describes an error of the store. What another try may mend is no failure, but the error itself.
func failureOf(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case errors.Is(err, objstore.ErrNotFound), errors.Is(err, objstore.ErrDamaged):
		return &task.Failure{Kind: task.KindObjectLost, Message: what + ": " + err.Error()}
	case errors.Is(err, objstore.ErrTooLarge):
		return &task.Failure{Kind: task.KindTooLarge, Message: what + ": " + err.Error()}
	case errors.Is(err, objstore.ErrNoRoom):
		return fmt.Errorf("%s: %w: %w", what, ErrStorageFull, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func tooLarge(have, most int) *task.Failure {
	return &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf("a value of %d bytes, and %d is the most without a store of objects", have, most)}
}
