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

// Limits of what a message has of a value.
const (
	// InlineBytes is how many bytes one value may have in a message; a larger one is put into the store.
	InlineBytes = 64 << 10
	// bundleBytes is how many bytes a value with all its references may take in a message; a larger one is put into the
	// store as a whole, as a bundle.
	bundleBytes = 1 << 20
)

// A Store turns values that are too large for messages into objects, and back.
type Store struct {
	Objects *objstore.Store // nil = none: values that do not fit into a message fail with task.ErrTooLarge
	Most    int             // how many bytes a value with all its references may take in a message
}

// Fit returns the value in a form that fits into a message: what is too large is put into the store under the scope. If
// shared is true, bytes with the same content are kept once, and v.Data may be changed afterwards; otherwise the store keeps
// v.Data, which must not be changed any more. v itself stays as it is. On error, Fit returns the partly stored value, so that
// the caller can remove its objects.
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
	if err := checkRefs(&v, mostParts); err != nil { // if parts of it become bundles, it may have more than one message
		return v, err
	}
	v, err := x.fit(ctx, scope, v, shared)
	if err == nil {
		err = CheckRefs(&v)
	}
	if n := v.Inline(); err == nil && n > x.Most {
		err = &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf("the names of all objects that the value refers to take %d bytes, at most %d: refer to fewer", n, x.Most)}
	}
	return v, err
}

// Fits reports whether Fit would return the value unchanged, as for most values.
func (x Store) Fits(v *task.Value) bool { return IsSmall(v) && len(v.Data) <= x.Most }

// deepestRef is one less than the limit of the encoding: a bundle adds a level.
const deepestRef = task.MaxRefDepth - 1

// IsSmall reports whether the value is sent in messages unchanged, as most values.
func IsSmall(v *task.Value) bool { return len(v.Data) <= InlineBytes && v.External == nil }

func (x Store) fit(ctx context.Context, scope string, v task.Value, shared bool) (task.Value, error) {
	if IsSmall(&v) || v.Type == task.Bundle {
		return v, nil
	}
	v.External = v.External.Copy() // v shares it with the caller
	for i, ref := range v.External.Refs {
		var err error
		if v.External.Refs[i], err = x.fit(ctx, scope, ref, shared); err != nil {
			return v, err
		}
	}
	if v.Object() != nil { // the bytes are in the store already
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

// Bundled returns how many bytes a value with all its references may take in a message before it becomes a bundle.
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

// bundle puts a value with all its references into the store as one object. The result has references to the objects
// inside, so that whoever holds it holds those, too.
func (x Store) bundle(ctx context.Context, scope string, v task.Value, shared bool) (task.Value, error) {
	var inside []task.Value
	seen := map[task.Object]bool{}
	v.Objects(func(o *task.Object) bool {
		if !seen[*o] {
			seen[*o] = true
			inside = append(inside, task.Value{External: &task.External{Object: o}})
		}
		return true
	})
	if err := CheckRefs(&v); err != nil {
		return v, err
	}
	o, err := x.put(ctx, scope, task.AppendValue(nil, &v), shared)
	if err != nil {
		return v, err
	}
	return task.Value{Type: task.Bundle, External: &task.External{Object: o, Refs: inside}}, nil
}

// Room returns how many bytes of inputs may be pinned at a time. Objects that are in the memory of this process already do
// not count.
func (x Store) Room() int64 {
	if x.Objects == nil || x.Objects.Room() == 0 {
		return math.MaxInt64
	}
	return x.Objects.Room()
}

// Read returns the value with the bytes of its objects in Data, and the same for its references. The objects are still
// named, so that the value can be passed on without being put again.
func (x Store) Read(ctx context.Context, v task.Value) (task.Value, error) {
	f := fetch{store: x}
	return f.value(ctx, v, task.MaxRefDepth)
}

// ErrNoRoom says that the objects of a value have more bytes in total than Fetch was allowed to pin.
var ErrNoRoom = errors.New("more bytes than may be pinned at a time")

// Fetch is Read, and pins the objects, with at most room bytes in total; if they have more, the error is ErrNoRoom. The
// caller releases the pins when it no longer uses the value.
func (x Store) Fetch(ctx context.Context, v task.Value, room int64) (task.Value, Pins, error) {
	f := fetch{store: x, pinning: true, room: room}
	v, err := f.value(ctx, v, task.MaxRefDepth)
	if err != nil {
		f.pins.Release()
		return v, Pins{}, err
	}
	return v, f.pins, nil
}

// Pins keep objects in memory.
type Pins struct {
	Bytes int64 // total size of the objects
	all   []*objstore.Pin
}

// Release releases all pins.
func (p *Pins) Release() {
	for _, pin := range p.all {
		pin.Release()
	}
	*p = Pins{}
}

// Add adds the pins of other, which are released with p from then on.
func (p *Pins) Add(other Pins) {
	p.Bytes += other.Bytes
	p.all = append(p.all, other.all...)
}

// fetch gets the bytes of one value, those of each object once.
type fetch struct {
	store   Store
	pinning bool
	room    int64 // how many bytes it may pin
	pins    Pins
	have    map[objstore.Key][]byte // bytes of the objects so far
	parts   int                     // values so far, with references
}

// mostParts limits the number of values that one value has with all its references and bundles.
const mostParts = 4 * task.MaxRefs

func (f *fetch) value(ctx context.Context, v task.Value, depth int) (task.Value, error) {
	if f.parts++; f.parts > mostParts || depth < 0 {
		return v, f.unreadable(fmt.Errorf("%w: it has more than %d references, or they are nested more than %d deep",
			task.ErrTooLarge, mostParts, task.MaxRefDepth))
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
			return v, f.unreadable(err)
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
	if f.store.Objects == nil {
		return nil, FailureOf(objstore.ErrNotFound, "get %s", o)
	}
	if f.pinning && f.pins.Bytes+o.Size > f.room { // not to wait for room that this fetch takes itself
		return nil, fmt.Errorf("get %s: %w", o, ErrNoRoom)
	}
	pin, err := f.store.Objects.GetSized(ctx, KeyOf(o), o.Size)
	if err != nil {
		return nil, FailureOf(err, "get %s", o)
	}
	data := pin.Bytes()
	if f.pinning {
		f.pins.Add(Pins{o.Size, []*objstore.Pin{pin}})
	} else {
		pin.Release() // the bytes do not change; the garbage collector keeps them
	}
	if f.have == nil {
		f.have = map[objstore.Key][]byte{}
	}
	f.have[KeyOf(o)] = data
	return data, nil
}

// KeyOf returns the key of the object in the store.
func KeyOf(o *task.Object) objstore.Key { return objstore.Key{Scope: o.Scope, ID: o.ID} }

// FailureOf returns an error of the store with a description in front: a *task.Failure if trying again would not help,
// otherwise an error that wraps err.
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

// TooLarge returns the failure of a value of so many bytes when there is no object store.
func TooLarge(have, most int) *task.Failure {
	return &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf("a value of %d bytes, at most %d without an object store", have, most)}
}

// CheckRefs returns a failure if the value has more references, with those of its references, than a message or a bundle
// may have, or if they are nested too deep.
func CheckRefs(v *task.Value) error { return checkRefs(v, task.MaxRefs) }

func checkRefs(v *task.Value, most int) error {
	if n := v.Depth(); n > deepestRef {
		return &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf("references to values are nested %d deep, at most %d", n, deepestRef)}
	}
	if n := v.CountRefs(); n > most {
		return &task.Failure{Kind: task.KindTooLarge, Message: fmt.Sprintf(
			"the value has %d references, with those of its references, at most %d: put parts of it, and refer to those", n, most)}
	}
	return nil
}

// unreadable returns the failure of a bundle whose bytes are those that were put, but cannot be decoded.
func (f *fetch) unreadable(err error) *task.Failure {
	kind := task.KindOutput
	switch {
	case errors.Is(err, task.ErrTooLarge):
		kind = task.KindTooLarge
	case f.pinning:
		kind = task.KindInput
	}
	return &task.Failure{Kind: kind, Message: "decode a value with its references: " + err.Error()}
}

// Without returns the value with no reference to objects of the scope: their bytes are in Data instead. The caller puts it
// under another scope.
func (x Store) Without(ctx context.Context, scope string, v task.Value) (task.Value, error) {
	found := false
	v.Objects(func(o *task.Object) bool {
		found = o.Scope == scope
		return !found
	})
	if !found {
		return v, nil
	}
	v, err := x.Read(ctx, v)
	return withoutObjects(v, scope), err
}

// withoutObjects returns the value with the objects of the scope not named.
func withoutObjects(v task.Value, scope string) task.Value {
	if v.External == nil {
		return v
	}
	v.External = v.External.Copy()
	if o := v.External.Object; o != nil && o.Scope == scope {
		v.External.Object = nil
	}
	for i, ref := range v.External.Refs {
		v.External.Refs[i] = withoutObjects(ref, scope)
	}
	return v
}

// Max returns how many bytes a value may take in a message, if a message may have maxPayload.
func Max(maxPayload int) int { return maxPayload/2 - maxPayload/16 }

// ErrStorageLost says that the directory in which the cluster stores was deleted, or can be written no more.
var ErrStorageLost = errors.New("the storage is lost")

// ErrStorageFull says that the streams or the object store are so full that no new tasks are accepted.
var ErrStorageFull = errors.New("storage is nearly full: no new tasks are accepted until there is room")
