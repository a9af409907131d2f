package engine

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// shape is what shapeOf has found out about a type whose values are encoded.
type shape struct {
	err       error // why values would lose data; nil if they would not
	recursive bool  // the type contains itself
	plan      *plan // where in its values there can be Refs and Arrow data; nil if nowhere
}

var shapes sync.Map // *shape by reflect.Type

func shapeOf[T any]() *shape {
	t := reflect.TypeFor[T]()
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	c := checker{visiting: map[reflect.Type]bool{}, passed: map[reflect.Type]bool{}}
	s := &shape{err: c.check(t, ""), plan: planOf(t)}
	s.recursive = c.recursive
	shapes.Store(t, s)
	return s
}

// checkType returns an error if a value of T would lose data in the encoding: unexported and interface fields, channels,
// functions, and so on. The error has the path of the field. The noun says what T is used for, such as "input".
func checkType[T any](noun string) error {
	if err := shapeOf[T]().err; err != nil {
		return fmt.Errorf("%s %s: %w", noun, reflect.TypeFor[T](), err)
	}
	return nil
}

// checker walks a type once. Make one for each type.
type checker struct {
	visiting  map[reflect.Type]bool // the types on the path from the root to the current one
	passed    map[reflect.Type]bool // types that lose no data
	recursive bool                  // set if a type on the path contains itself
}

var (
	cborPair   = [2]reflect.Type{reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[cbor.Unmarshaler]()}
	binaryPair = [2]reflect.Type{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()}
	textPair   = [2]reflect.Type{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()}
	refPath    = reflect.TypeFor[Ref[int]]().PkgPath()
)

// isRef reports whether the type is a Ref[T]. It compares names, since a struct that embeds a Ref has its methods too.
func isRef(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == refPath && strings.HasPrefix(t.Name(), "Ref[")
}

// embedsRef reports whether the type is a struct that embeds a Ref, at any depth, and so has its methods.
func embedsRef(t reflect.Type) bool { return embeds(t, map[reflect.Type]bool{}) }

func embeds(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t.Kind() != reflect.Struct || seen[t] {
		return false
	}
	seen[t] = true
	for f := range t.Fields() {
		field := f.Type
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if f.Anonymous && (isRef(field) || embeds(field, seen)) {
			return true
		}
	}
	return false
}

// encodesItself reports whether the type has methods of its own both to encode and to decode it.
func encodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, pair := range [][2]reflect.Type{cborPair, binaryPair, textPair} {
		if p.Implements(pair[0]) && p.Implements(pair[1]) {
			return true
		}
	}
	return false
}

// lost returns an error that says why the value at the path would lose data.
func lost(path, why string) error {
	if path == "" {
		return errors.New(why)
	}
	return fmt.Errorf("%s: %s", strings.TrimPrefix(path, "."), why)
}

func (c *checker) check(t reflect.Type, path string) error {
	switch {
	case c.visiting[t]:
		c.recursive = true
		return nil
	case c.passed[t]:
		return nil
	case isRef(t), arrowFormOf(t) != nil:
		return nil // what a Ref refers to is checked where the Ref is made
	case embedsRef(t):
		return lost(path, "an embedded Ref hides the other fields of the struct from the encoder: give the field a name")
	case t.Kind() != reflect.Interface && encodesItself(t):
		return nil
	}
	c.visiting[t] = true
	err := c.checkKind(t, path)
	delete(c.visiting, t)
	c.passed[t] = err == nil
	return err
}

func (c *checker) checkKind(t reflect.Type, path string) error {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr, reflect.Complex64, reflect.Complex128:
		return lost(path, fmt.Sprintf("a %s cannot be encoded", t.Kind()))
	case reflect.Interface:
		return lost(path, "an interface does not say which type to decode: use a concrete type")
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Pointer {
			return lost(path, "a pointer to a pointer cannot keep which of the two is nil: use one pointer")
		}
		return c.check(t.Elem(), path)
	case reflect.Slice, reflect.Array:
		return c.check(t.Elem(), path+"[]")
	case reflect.Map:
		if refers(t.Key(), map[reflect.Type]bool{}) {
			return lost(path+"[key]", "a Ref or Arrow data cannot be a map key: use it as a value")
		}
		if t.Key().Kind() == reflect.Pointer {
			return lost(path, "a pointer as a map key loses its identity: use the value that it points to")
		}
		if err := c.check(t.Key(), path+"[key]"); err != nil {
			return err
		}
		return c.check(t.Elem(), path+"[]")
	case reflect.Struct:
		return c.checkStruct(t, path)
	default: // numbers, booleans, strings
		return nil
	}
}

func (c *checker) checkStruct(t reflect.Type, path string) error {
	taken := map[string]string{}
	for _, f := range reflect.VisibleFields(t) {
		at := path + "." + f.Name
		name, encoded := encodedName(f)
		embedded := f.Anonymous && name == "" && isStruct(f.Type)
		switch {
		case f.Name == "_" || !encoded:
			continue
		case len(f.Index) > 1 && hidden(t, f):
			continue
		case embedded && !f.IsExported() && f.Type.Kind() == reflect.Pointer:
			return lost(at, "an embedded pointer to an unexported type cannot be decoded: embed the struct itself")
		case embedded:
			continue // VisibleFields lists its fields too
		case !f.IsExported():
			return lost(at, "an unexported field is not encoded: export it, or exclude it with a cbor:\"-\" tag")
		}
		if name == "" {
			name = f.Name
		}
		if other := taken[name]; other != "" {
			return lost(at, fmt.Sprintf("is encoded under the name %q, and so is %s: change one of the tags", name, other))
		}
		taken[name] = f.Name
		if err := c.check(f.Type, at); err != nil {
			return err
		}
	}
	return nil
}

// hidden reports whether a field that t has from an embedded struct is not a field of t in the encoding: the embedded
// struct has a name by a tag, is excluded by a tag, or encodes itself.
func hidden(t reflect.Type, f reflect.StructField) bool {
	for i := 1; i < len(f.Index); i++ {
		outer := t.FieldByIndex(f.Index[:i])
		if name, encoded := encodedName(outer); name != "" || !encoded || encodesItself(outer.Type) {
			return true
		}
	}
	return false
}

// isStruct reports whether the type is a struct, or a pointer to one, that is encoded field by field.
func isStruct(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && !encodesItself(t)
}

// encodedName returns the name that the field's tag gives it, "" if none; encoded is false if a tag excludes the field.
// Like the CBOR library, it reads the cbor tag, or the json tag if there is no cbor tag.
func encodedName(f reflect.StructField) (name string, encoded bool) {
	tag, ok := f.Tag.Lookup("cbor")
	if !ok {
		tag = f.Tag.Get("json")
	}
	name, _, _ = strings.Cut(tag, ",")
	return name, tag != "-"
}

// checkDepth returns an error for a value that is nested more than maxDepth deep, as every cycle is. Encoding one would
// overflow the stack, which ends the process: a panic of that kind cannot be recovered.
func checkDepth(v any) error { return depth(reflect.ValueOf(v), 0) }

var errTooDeep = fmt.Errorf("the value is nested more than %d levels deep: does it contain a cycle?", maxDepth)

func depth(v reflect.Value, at int) error {
	switch {
	case at > maxDepth:
		return errTooDeep
	case encodesItself(v.Type()):
		return nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return depth(v.Elem(), at+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := depth(v.Index(i), at+1); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, e := range v.Seq2() {
			if err := depth(e, at+1); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return depthOfFields(v, at+1)
	default: // contains no other value
	}
	return nil
}

func depthOfFields(v reflect.Value, at int) error {
	for i := range v.NumField() {
		if _, encoded := encodedName(v.Type().Field(i)); !encoded {
			continue
		}
		if err := depth(v.Field(i), at); err != nil {
			return err
		}
	}
	return nil
}
