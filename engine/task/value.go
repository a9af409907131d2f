package task

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// ValueType says how the bytes of a value are encoded. The numbers are part of the wire.
type ValueType uint8

// The types of values.
const (
	CBOR   ValueType = iota // RFC 8949, core deterministic
	Bytes                   // the bytes of a []byte
	Text                    // the bytes of a string
	JSON                    // RFC 8259, from clients in other languages
	Arrow                   // an Arrow IPC stream of record batches
	Bundle                  // a whole Value with its references, as AppendValue writes it
	Fault                   // in a reference only: the failure of the task that it refers to, as AppendFailure writes it
)

// Value is an encoded input or result. It is not changed after it was passed to a session or read from a queue. Its bytes
// may be part of a message: to keep it for long, use a Clone.
type Value struct {
	Type     ValueType
	Data     []byte    // the bytes, unless they are in an object
	External *External // nil = the value has neither an object nor references, as most
}

// External is the part of a value that is not in its Data: its object and its references.
type External struct {
	Object *Object // the object with the bytes; nil = they are in Data
	Refs   []Value // the values that references in the bytes refer to, by index
}

// Copy returns a copy whose fields and references can be set; f may be nil. What the references themselves refer to is
// shared.
func (f *External) Copy() *External {
	if f == nil {
		return &External{}
	}
	return &External{f.Object, slices.Clone(f.Refs)}
}

// Set is *v = *w, field by field, which is faster for a w that was just written: the compiler copies a whole Value by loads
// of two words, each of which waits for two stores of one word.
func (v *Value) Set(w *Value) { v.Type, v.Data, v.External = w.Type, w.Data, w.External }

// Object returns the object with the bytes, nil if they are in Data.
func (v *Value) Object() *Object {
	if v.External == nil {
		return nil
	}
	return v.External.Object
}

// Refs returns the values that references in the bytes refer to, by index.
func (v *Value) Refs() []Value {
	if v.External == nil {
		return nil
	}
	return v.External.Refs
}

// Object names bytes in the object store, which are too large for messages.
type Object struct {
	Scope string   // of the session or export that it belongs to, and with which it is removed
	ID    [32]byte // unique in the scope
	Size  int64    // bytes
}

// String returns the object as error messages show it: its scope, the beginning of its ID, and its size.
func (o *Object) String() string {
	return fmt.Sprintf("%s/%s (%d bytes)", o.Scope, hex.EncodeToString(o.ID[:6]), o.Size)
}

// Size returns how many bytes the value and its references have, in objects or not.
func (v *Value) Size() int64 {
	n := int64(len(v.inlineData()))
	if o := v.Object(); o != nil {
		n += o.Size
	}
	for i := range v.Refs() {
		n += v.External.Refs[i].Size()
	}
	return n
}

// Inline returns about how many bytes the value takes in a message, with its references.
func (v *Value) Inline() int {
	n := len(v.inlineData())
	if o := v.Object(); o != nil {
		n += len(o.Scope) + objectBytes
	}
	for i := range v.Refs() {
		n += v.External.Refs[i].Inline() + RefBytes
	}
	return n
}

// How many bytes Inline counts for what is not data.
const (
	objectBytes = 64 // for an object, without its scope
	RefBytes    = 16 // for a reference, without its value
)

// Depth returns how deeply references are nested: 0 for a value without references.
func (v *Value) Depth() int {
	depth := 0
	for i := range v.Refs() {
		depth = max(depth, 1+v.External.Refs[i].Depth())
	}
	return depth
}

// CountRefs returns how many references the value has, with those of its references. MaxRefs limits it.
func (v *Value) CountRefs() int {
	n := len(v.Refs())
	for i := range v.Refs() {
		n += v.External.Refs[i].CountRefs()
	}
	return n
}

// Objects yields the objects of the value and of its references, until yield returns false. It returns whether all were
// yielded.
func (v *Value) Objects(yield func(*Object) bool) bool {
	if o := v.Object(); o != nil && !yield(o) {
		return false
	}
	for i := range v.Refs() {
		if !v.External.Refs[i].Objects(yield) {
			return false
		}
	}
	return true
}

// HasObjects reports whether the value or one of its references has an object.
func (v *Value) HasObjects() bool {
	return v.Object() != nil || slices.ContainsFunc(v.Refs(), func(r Value) bool { return r.HasObjects() })
}

// IsInline reports whether all bytes of the value and of its references are in Data, none in an object or a bundle.
func (v *Value) IsInline() bool {
	if v.Type == Bundle || v.Object() != nil {
		return false
	}
	for i := range v.Refs() {
		if !v.External.Refs[i].IsInline() {
			return false
		}
	}
	return true
}

// Clone returns a copy that shares no memory with the message that the value was read from.
func (v *Value) Clone() Value {
	c := Value{Type: v.Type, Data: append([]byte(nil), v.Data...)}
	if v.External == nil {
		return c
	}
	c.External = &External{}
	if o := v.External.Object; o != nil {
		c.External.Object = &Object{strings.Clone(o.Scope), o.ID, o.Size}
	}
	if refs := v.External.Refs; len(refs) > 0 {
		c.External.Refs = make([]Value, len(refs))
		for i := range refs {
			c.External.Refs[i] = refs[i].Clone()
		}
	}
	return c
}

// Keys of a value as a map of its own. In specs and entries, the parts of a value have keys of those maps.
const (
	valueType   = 1
	valueData   = 2
	valueObject = 3
	valueRefs   = 4
)

// Limits of references: how deeply they may be nested, and how many a message or a bundle may have. Whoever writes one
// checks them first: a reader refuses all of a message that exceeds them.
const (
	MaxRefDepth = 32
	MaxRefs     = 1 << 18
)

// AppendValue appends the value to dst, as the bytes of a Bundle.
func AppendValue(dst []byte, v *Value) []byte {
	kind := uint64(v.Type)
	n := 1 + fields(kind) + v.externalFields()
	dst = appendHead(dst, majorMap, n)
	dst = appendField(dst, valueType, kind)
	dst = appendBytes(appendUint(dst, valueData), v.inlineData())
	return v.appendExternal(dst, valueObject, valueRefs)
}

// inlineData returns the bytes that are sent in a message: none if they are in an object.
func (v *Value) inlineData() []byte {
	if v.Object() != nil {
		return nil
	}
	return v.Data
}

// externalFields returns how many fields appendExternal appends.
func (v *Value) externalFields() (n uint64) {
	if v.Object() != nil {
		n++
	}
	if len(v.Refs()) > 0 {
		n++
	}
	return n
}

// appendExternal appends the object and the references under these keys, if there are any.
func (v *Value) appendExternal(dst []byte, object, refs uint64) []byte {
	if o := v.Object(); o != nil {
		dst = appendHead(appendUint(dst, object), majorArray, 3)
		dst = appendText(dst, o.Scope)
		dst = appendBytes(dst, o.ID[:])
		dst = appendUint(dst, uint64(max(o.Size, 0)))
	}
	if len(v.Refs()) == 0 {
		return dst
	}
	dst = appendHead(appendUint(dst, refs), majorArray, uint64(len(v.External.Refs)))
	for i := range v.External.Refs {
		dst = AppendValue(dst, &v.External.Refs[i])
	}
	return dst
}

// DecodeValue reads what AppendValue writes. The bytes of the value are parts of data.
func DecodeValue(data []byte) (Value, error) {
	r := &reader{rest: data}
	v := r.value(MaxRefDepth)
	if r.err == nil && len(r.rest) > 0 {
		r.fail(fmt.Errorf("%d bytes after the end", len(r.rest)))
	}
	if r.err != nil {
		return Value{}, fmt.Errorf("task: decode value: %w", r.err)
	}
	return v, nil
}

// external returns v.External, which it makes if it is nil.
func (v *Value) external() *External {
	if v.External == nil {
		v.External = &External{}
	}
	return v.External
}

// setRefs sets the references. Without any, it makes no External.
func (v *Value) setRefs(refs []Value) {
	if len(refs) > 0 {
		v.external().Refs = refs
	}
}

func (r *reader) value(depth int) (v Value) {
	for range r.count(majorMap, 2) {
		switch r.uint() {
		case valueType:
			v.Type = ValueType(r.small(1 << 8))
		case valueData:
			v.Data = r.bytes()
		case valueObject:
			v.external().Object = r.object()
		case valueRefs:
			v.setRefs(r.values(depth - 1))
		default:
			r.skip(maxSkipDepth)
		}
	}
	v.Data = v.inlineData()
	return v
}

// fewRefs is the greatest capacity of a list of references before its elements are read: a message may claim more elements
// than it has.
const fewRefs = 8

// valueLeast is the length of the shortest value: a map with empty data.
const valueLeast = 3

// values reads a list of references.
func (r *reader) values(depth int) (refs []Value) {
	if depth <= 0 {
		r.fail(errDepth)
		return nil
	}
	n := r.count(majorArray, valueLeast)
	if n > 0 {
		refs = make([]Value, 0, min(n, fewRefs))
	}
	for range n {
		if r.refs++; r.refs > MaxRefs {
			r.fail(fmt.Errorf("%w: more than %d references", ErrTooLarge, MaxRefs))
		}
		if r.err != nil {
			return nil
		}
		refs = append(refs, r.value(depth))
	}
	return refs
}

func (r *reader) object() *Object {
	if n := r.count(majorArray, 1); n != 3 && r.err == nil {
		r.fail(fmt.Errorf("an object of %d items, want 3", n))
	}
	o := &Object{Scope: r.text()}
	id := r.bytes()
	if len(id) != len(o.ID) && r.err == nil {
		r.fail(fmt.Errorf("an object's ID of %d bytes, want %d", len(id), len(o.ID)))
	}
	copy(o.ID[:], id)
	o.Size = int64(r.uint() & (1<<63 - 1))
	return o
}
