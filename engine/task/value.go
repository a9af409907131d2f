package task

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// ValueType says how a value's bytes are to be read. The numbers are part of the wire.
type ValueType uint8

// The types of values.
const (
	CBOR   ValueType = iota // RFC 8949, core deterministic
	Bytes                   // a []byte as it is
	Text                    // a string as it is
	JSON                    // RFC 8259, from clients in other languages
	Arrow                   // an Arrow IPC stream of record batches
	Bundle                  // a whole Value, with its Refs, as AppendValue writes it
	Fault                   // of a reference alone: why there is no value, as AppendFailure writes it
)

// Value is an encoded input or result. It is immutable once it was given to a session or came from a
// queue, and its bytes may belong to a message: whoever keeps one for long copies it.
type Value struct {
	Type     ValueType
	Data     []byte    // the bytes, unless External says where they are
	External *External // nil, as usual: all is in Data
}

// External is the part of a value that is not in its Data.
type External struct {
	Object *Object // where the bytes are; nil = in Data
	Refs   []Value // what references in the bytes stand for, by their index
}

// Copy returns a copy whose fields can be set, of nil, too. What its references have is shared.
func (f *External) Copy() *External {
	if f == nil {
		return &External{}
	}
	return &External{f.Object, slices.Clone(f.Refs)}
}

// Set is *v = *w, field by field. Values are too large for registers, and a copy as a whole is made of moves of two words,
// each of which waits for the stores of one word that w was made by a moment ago.
func (v *Value) Set(w *Value) { v.Type, v.Data, v.External = w.Type, w.Data, w.External }

// Object returns where the bytes are, nil if they are in Data.
func (v *Value) Object() *Object {
	if v.External == nil {
		return nil
	}
	return v.External.Object
}

// Refs returns what references in the value stand for, by their index.
func (v *Value) Refs() []Value {
	if v.External == nil {
		return nil
	}
	return v.External.Refs
}

// Object says where bytes are kept that are too large for messages.
type Object struct {
	Scope string   // whose it is: a session's, or an export's; it goes when that does
	ID    [32]byte // in that scope
	Size  int64    // bytes
}

// String returns the object as errors show it.
func (o *Object) String() string {
	return fmt.Sprintf("%s/%s (%d bytes)", o.Scope, hex.EncodeToString(o.ID[:6]), o.Size)
}

// Size returns how many bytes the value has, wherever they are, with those of its references.
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

// Inline returns about how many bytes the value takes in a message.
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

// Bounds on what Inline counts beside data.
const (
	objectBytes = 64
	RefBytes    = 16 // for each reference
)

// Depth returns how deeply the value refers to values that refer to others: 0 if it refers to none.
func (v *Value) Depth() int {
	depth := 0
	for i := range v.Refs() {
		depth = max(depth, 1+v.External.Refs[i].Depth())
	}
	return depth
}

// Objects yields the objects of the value and of its references.
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

// HasObjects reports whether some bytes of the value are kept elsewhere.
func (v *Value) HasObjects() bool {
	return v.Object() != nil || slices.ContainsFunc(v.Refs(), func(r Value) bool { return r.HasObjects() })
}

// IsInline reports whether all bytes of the value, and of its references, are in it as they are: nothing is in an object, nor
// bundled.
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

// Clone returns a copy that shares no memory with the message that the value came in.
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

// Keys of a value on its own. In a spec and in an entry, a value's parts have keys beside those of the task.
const (
	valueType   = 1
	valueData   = 2
	valueObject = 3
	valueRefs   = 4
)

// Bounds on references: how deeply values refer to values, and how many a message may have.
const (
	MaxRefDepth = 32
	MaxRefs     = 1 << 18
)

// AppendValue writes the value behind dst: what a Bundle is.
func AppendValue(dst []byte, v *Value) []byte {
	kind := uint64(v.Type)
	n := 1 + fields(kind) + v.externalFields()
	dst = appendHead(dst, majorMap, n)
	dst = appendField(dst, valueType, kind)
	dst = appendBytes(appendUint(dst, valueData), v.inlineData())
	return v.appendExternal(dst, valueObject, valueRefs)
}

// inlineData returns the bytes that are sent: none of those that an object has.
func (v *Value) inlineData() []byte {
	if v.Object() != nil {
		return nil
	}
	return v.Data
}

// externalFields counts what appendExternal will write.
func (v *Value) externalFields() (n uint64) {
	if v.Object() != nil {
		n++
	}
	if len(v.Refs()) > 0 {
		n++
	}
	return n
}

// appendExternal writes where the value's bytes are, and its references, under these keys, if it has any.
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

// DecodeValue reads what AppendValue writes. The value's bytes are parts of data.
func DecodeValue(data []byte) (Value, error) {
	r := &reader{rest: data}
	v := r.value(MaxRefDepth)
	if r.err == nil && len(r.rest) > 0 {
		r.fail(fmt.Errorf("%d bytes behind the end", len(r.rest)))
	}
	if r.err != nil {
		return Value{}, fmt.Errorf("task: decode value: %w", r.err)
	}
	return v, nil
}

// external returns External to be filled.
func (v *Value) external() *External {
	if v.External == nil {
		v.External = &External{}
	}
	return v.External
}

// refer sets the references. A value without any has no External for them.
func (v *Value) refer(refs []Value) {
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
			v.refer(r.values(depth - 1))
		default:
			r.skip(maxSkipDepth)
		}
	}
	v.Data = v.inlineData()
	return v
}

// fewRefs are made room for at once: a message may claim more than it has.
const fewRefs = 8

// valueLeast is the length of the shortest value: a map with empty data.
const valueLeast = 3

// values reads references.
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
			r.fail(fmt.Errorf("more than %d references", MaxRefs))
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
