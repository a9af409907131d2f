package values

import (
	"context"
	"errors"
	"fmt"
	"math"

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

// A Store turns values that are too large for messages into objects, and back. It is what sessions and agents do
// alike.
type Store struct {
	Objects *objstore.Store // nil = there is none, and what does not fit into a message is ErrTooLarge
	Most    int             // bytes of a value in a message
}

// Fit returns the value so that it fits into messages: what is too large of it is put into the store under the
// scope. Shared bytes are known by their content and kept once; v.Data may be changed afterwards. Others become
// the store's, and must not be changed. With an error comes the value as far as that has gone, for who removes what
// was put. v itself stays as it is.
func (x Store) Fit(ctx context.Context, scope string, v task.Value, shared bool) (task.Value, error) {
	if x.Fits(&v) {
		return v, nil
	}
	if x.Objects == nil {
		if n := v.Inline(); n > x.Most {
			return v, TooLarge(n, x.Most)
		}
		return v, nil
	}
	if n := v.Depth(); n > deepestRef {
		return v, &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf("a value that refers to values that refer to others, %d deep, and %d is the most", n, deepestRef)}
	}
	v, err := x.fit(ctx, scope, v, shared)
	if n := v.Inline(); err == nil && n > x.Most {
		err = &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf("a value that refers to so many objects that their names take %d bytes, and %d is the most", n, x.Most)}
	}
	return v, err
}

// Fits reports whether the value is as Fit would return it, as most are.
func (x Store) Fits(v *task.Value) bool { return IsSmall(v) && len(v.Data) <= x.Most }

// deepestRef leaves room for the value that a bundle is.
const deepestRef = task.MaxRefDepth - 1

// IsSmall reports whether the value travels in messages as it is, as most do.
func IsSmall(v *task.Value) bool { return len(v.Data) <= InlineBytes && v.External == nil }

func (x Store) fit(ctx context.Context, scope string, v task.Value, shared bool) (task.Value, error) {
	if IsSmall(&v) || v.Type == task.Bundle {
		return v, nil
	}
	v.External = v.External.Copy() // others may have it, too
	for i, ref := range v.External.Refs {
		var err error
		if v.External.Refs[i], err = x.fit(ctx, scope, ref, shared); err != nil {
			return v, err
		}
	}
	if v.Object() != nil { // it is there already
		v.Data = nil
	}
	if len(v.Data) > InlineBytes {
		o, err := x.put(ctx, scope, v.Data, shared)
		if err != nil {
			return v, err
		}
		v.Data, v.External.Object = nil, o
	}
	if v.Inline() <= x.Bundled() {
		return v, nil
	}
	return x.bundle(ctx, scope, v, shared)
}

// Bundled is the most that a value has in a message with all it refers to.
func (x Store) Bundled() int { return min(bundleBytes, x.Most) }

func (x Store) put(ctx context.Context, scope string, data []byte, shared bool) (*task.Object, error) {
	var key objstore.Key
	var err error
	failpoint.Hit("store.before")
	if shared {
		key, err = x.Objects.PutShared(ctx, scope, data)
	} else {
		key, err = x.Objects.Put(ctx, scope, data)
	}
	failpoint.Hit("store.after")
	if err != nil {
		return nil, FailureOf(err, "put a value of %d bytes", len(data))
	}
	return &task.Object{Scope: key.Scope, ID: key.ID, Size: int64(len(data))}, nil
}

// bundle puts a value with all it refers to. The objects in it are named beside, for who holds them.
func (x Store) bundle(ctx context.Context, scope string, v task.Value, shared bool) (task.Value, error) {
	var inside []task.Value
	named := map[task.Object]bool{}
	v.Objects(func(o *task.Object) bool {
		if !named[*o] {
			named[*o] = true
			inside = append(inside, task.Value{External: &task.External{Object: o}})
		}
		return true
	})
	o, err := x.put(ctx, scope, task.AppendValue(nil, &v), shared)
	if err != nil {
		return v, err
	}
	return task.Value{Type: task.Bundle, External: &task.External{Object: o, Refs: inside}}, nil
}

// Room returns how many bytes of pinned inputs there may be at once; what is in this process already takes none.
func (x Store) Room() int64 {
	if x.Objects == nil || x.Objects.Room() == 0 {
		return math.MaxInt64
	}
	return x.Objects.Room()
}

// Read returns the value with all its bytes at hand, and those of what it refers to. Objects stay named, so that it
// can be passed on without being put again.
func (x Store) Read(ctx context.Context, v task.Value) (task.Value, error) {
	f := fetch{values: x}
	return f.value(ctx, v, task.MaxRefDepth)
}

// ErrNoRoom says that the objects of a value have more bytes together than there is room for.
var ErrNoRoom = errors.New("more bytes than there is room for")

// Fetch is as Read, and pins the objects, which may have so many bytes together: beyond that, it is ErrNoRoom. The
// pins are to be released when the value was used.
func (x Store) Fetch(ctx context.Context, v task.Value, room int64) (task.Value, Pins, error) {
	f := fetch{values: x, pinning: true, room: room}
	v, err := f.value(ctx, v, task.MaxRefDepth)
	if err != nil {
		f.pins.Release()
		return v, Pins{}, err
	}
	return v, f.pins, nil
}

// Pins keep objects where they are.
type Pins struct {
	Bytes int64
	all   []*objstore.Pin
}

// Release ends that.
func (p *Pins) Release() {
	for _, pin := range p.all {
		pin.Release()
	}
	*p = Pins{}
}

// Add takes over others.
func (p *Pins) Add(other Pins) {
	p.Bytes += other.Bytes
	p.all = append(p.all, other.all...)
}

// fetch brings the bytes of one value. Each object is brought once.
type fetch struct {
	values  Store
	pinning bool
	room    int64
	pins    Pins
	have    map[objstore.Key][]byte
	parts   int
}

// mostParts bounds the references of a value, through all its bundles.
const mostParts = 4 * task.MaxRefs

func (f *fetch) value(ctx context.Context, v task.Value, depth int) (task.Value, error) {
	if f.parts++; f.parts > mostParts || depth < 0 {
		return v, FailureOf(objstore.ErrDamaged, "a value of more than %d parts, or nested more than %d deep", mostParts, task.MaxRefDepth)
	}
	if o := v.Object(); o != nil {
		data, err := f.object(ctx, o)
		if err != nil {
			return v, err
		}
		v.Data = data
	}
	if v.Type == task.Bundle {
		inner, err := task.DecodeValue(v.Data)
		if err == nil && inner.Type == task.Bundle {
			err = errors.New("a bundle in a bundle")
		}
		if err != nil {
			return v, FailureOf(objstore.ErrDamaged, "%v", err)
		}
		return f.value(ctx, inner, depth-1)
	}
	if len(v.Refs()) == 0 {
		return v, nil
	}
	v.External = v.External.Copy()
	for i, ref := range v.External.Refs {
		var err error
		if v.External.Refs[i], err = f.value(ctx, ref, depth-1); err != nil {
			return v, err
		}
	}
	return v, nil
}

func (f *fetch) object(ctx context.Context, o *task.Object) ([]byte, error) {
	if data, ok := f.have[KeyOf(o)]; ok {
		return data, nil
	}
	if f.values.Objects == nil {
		return nil, FailureOf(objstore.ErrNotFound, "get %s", o)
	}
	if f.pinning && f.pins.Bytes+o.Size > f.room { // waiting for it would be waiting for oneself
		return nil, fmt.Errorf("get %s: %w", o, ErrNoRoom)
	}
	pin, err := f.values.Objects.GetSized(ctx, KeyOf(o), o.Size)
	if err != nil {
		return nil, FailureOf(err, "get %s", o)
	}
	data := pin.Bytes()
	if f.pinning {
		f.pins.Add(Pins{o.Size, []*objstore.Pin{pin}})
	} else {
		pin.Release() // what is read of it stays as it is
	}
	if f.have == nil {
		f.have = map[objstore.Key][]byte{}
	}
	f.have[KeyOf(o)] = data
	return data, nil
}

// KeyOf returns the object's key.
func KeyOf(o *task.Object) objstore.Key { return objstore.Key{Scope: o.Scope, ID: o.ID} }

// FailureOf describes an error of the store. What another try may mend is no failure, but the error itself.
func FailureOf(err error, format string, args ...any) error {
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

// TooLarge returns the failure of a value of so many bytes where there is no store of objects.
func TooLarge(have, most int) *task.Failure {
	return &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf("a value of %d bytes, and %d is the most without a store of objects", have, most)}
}

// Without returns the value with the bytes of the scope's objects at hand, and those objects not named: to be put
// under another one.
func (x Store) Without(ctx context.Context, scope string, v task.Value) (task.Value, error) {
	named := false
	v.Objects(func(o *task.Object) bool {
		named = o.Scope == scope
		return !named
	})
	if !named {
		return v, nil
	}
	v, err := x.Read(ctx, v)
	return unnamed(v, scope), err
}

func unnamed(v task.Value, scope string) task.Value {
	if v.External == nil {
		return v
	}
	v.External = v.External.Copy()
	if o := v.External.Object; o != nil && o.Scope == scope {
		v.External.Object = nil
	}
	for i, ref := range v.External.Refs {
		v.External.Refs[i] = unnamed(ref, scope)
	}
	return v
}

// Max returns how many bytes a value may have in a message where a message may have maxPayload.
func Max(maxPayload int) int { return maxPayload/2 - maxPayload/16 }

// ErrStorageFull says that the store has so little room left that nothing new is taken.
var ErrStorageFull = errors.New("the store has too little room left for new tasks")
