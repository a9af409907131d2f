package engine

import (
	"fmt"
	"reflect"
)

// form says how the values of a type are encoded in CBOR. It is made once for each type, and follows the CBOR library: what
// the library would lose is refused when the form is made, or, where that depends on the value, when a value is encoded
// (see form.check). Bytes are decoded only if they have the form (see form.fit).
type form struct {
	kind    formKind
	t       reflect.Type
	key     *form         // of a map
	elem    *form         // of a pointer, slice, array or map
	fields  []structField // of a struct, in the order in which they are encoded
	toArray bool          // a struct is encoded as an array
	checked bool          // form.check has something to look at in its values
}

type formKind uint8

const (
	formNone formKind = iota
	formBool
	formInt
	formUint
	formFloat
	formText
	formBytes     // a slice of bytes
	formByteArray // an array of bytes
	formSlice
	formArray
	formMap
	formStruct
	formPointer
	formTime
	formBigInt
	formRef
	formArrow
	formOwn      // by MarshalCBOR
	formOwnBytes // by MarshalBinary
	formOwnText  // by MarshalText
)

var kindNames = [...]string{
	formBool: "boolean", formInt: "integer", formUint: "integer", formFloat: "float", formText: "text", formBytes: "bytes", formByteArray: "bytes",
	formSlice: "array", formArray: "array", formMap: "map", formStruct: "map", formTime: "text of a time", formBigInt: "integer",
	formRef: "reference", formArrow: "Arrow data", formOwn: "value", formOwnBytes: "bytes", formOwnText: "text",
}

// String names what the form is in CBOR, and its Go type.
func (f *form) String() string {
	name := kindNames[f.kind]
	if f.kind == formStruct && f.toArray {
		name = "array"
	}
	return fmt.Sprintf("%s (%s)", name, f.t)
}

// nullable reports whether a value of the form can be encoded as null, and is not a pointer.
func (f *form) nullable() bool {
	switch f.kind {
	case formSlice, formMap, formBytes, formTime, formArrow, formOwn:
		return true
	default:
		return false
	}
}

// plainKey reports whether map keys of the form are equal exactly if their encodings are.
func (f *form) plainKey() bool {
	switch f.kind {
	case formBool, formInt, formUint, formText, formByteArray:
		return true
	case formArray:
		return f.elem.plainKey()
	case formStruct:
		for i := range f.fields {
			if !f.fields[i].form.plainKey() {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// needsCheck reports whether form.check has something to look at, apart from what the value contains.
func (f *form) needsCheck() bool {
	switch f.kind {
	case formTime:
		return true
	case formPointer:
		return f.elem.nullable()
	case formMap:
		return !f.key.plainKey()
	case formStruct:
		for i := range f.fields {
			if f.fields[i].needsCheck() {
				return true
			}
		}
	default: // what it contains is looked at by itself
	}
	return false
}

// needsCheck reports whether the field may be left out though it is not zero.
func (f *structField) needsCheck() bool {
	switch f.form.kind {
	case formSlice, formMap, formBytes, formOwn, formOwnBytes, formOwnText:
		if f.omitEmpty {
			return true
		}
	default: // an empty one is its zero value
	}
	t := f.form.t
	return f.omitZero && f.form.kind != formTime && (t.Implements(zeroer) || reflect.PointerTo(t).Implements(zeroer))
}

var zeroer = reflect.TypeFor[interface{ IsZero() bool }]()

// parts yields the forms of what a value contains.
func (f *form) parts(yield func(*form) bool) {
	for _, p := range []*form{f.key, f.elem} {
		if p != nil && !yield(p) {
			return
		}
	}
	for i := range f.fields {
		if !yield(f.fields[i].form) {
			return
		}
	}
}
