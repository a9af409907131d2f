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

// shape is what is known of a type whose values are to travel.
type shape struct {
	err       error // why values would lose data
	recursive bool  // the type holds itself
	plan      *plan // where in its values Refs are; nil if there are none
}

var shapes sync.Map // of *shape by reflect.Type

func shapeOf[T any]() *shape {
	t := reflect.TypeFor[T]()
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	c := checker{on: map[reflect.Type]bool{}, done: map[reflect.Type]bool{}}
	s := &shape{err: c.check(t, ""), plan: planOf(t)}
	s.recursive = c.recursive
	shapes.Store(t, s)
	return s
}

// checkType returns an error with the path of what would be lost of a T on its way: unexported and
// interface fields, channels, functions, and what else no encoding keeps. The noun says what T is for.
func checkType[T any](noun string) error {
	if err := shapeOf[T]().err; err != nil {
		return fmt.Errorf("%s %s: %w", noun, reflect.TypeFor[T](), err)
	}
	return nil
}

// checker walks a type once.
type checker struct {
	on        map[reflect.Type]bool // types on the way from the root to here
	done      map[reflect.Type]bool // types found good
	recursive bool
}

var (
	cborPair   = [2]reflect.Type{reflect.TypeFor[cbor.Marshaler](), reflect.TypeFor[cbor.Unmarshaler]()}
	binaryPair = [2]reflect.Type{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()}
	textPair   = [2]reflect.Type{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()}
	refPath    = reflect.TypeFor[Ref[int]]().PkgPath()
)

// isRef reports whether the type is a Ref[T]; what embeds one has its methods too.
func isRef(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == refPath && strings.HasPrefix(t.Name(), "Ref[")
}

// embedsRef reports whether the type is a struct with the methods of a Ref that is embedded in it.
func embedsRef(t reflect.Type) bool { return embeds(t, map[reflect.Type]bool{}) }

func embeds(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t.Kind() != reflect.Struct || seen[t] {
		return false
	}
	seen[t] = true
	for f := range t.Fields() {
		in := f.Type
		if in.Kind() == reflect.Pointer {
			in = in.Elem()
		}
		if f.Anonymous && (isRef(in) || embeds(in, seen)) {
			return true
		}
	}
	return false
}

// encodesItself reports whether the type brings its own encoding, there and back.
func encodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, pair := range [][2]reflect.Type{cborPair, binaryPair, textPair} {
		if p.Implements(pair[0]) && p.Implements(pair[1]) {
			return true
		}
	}
	return false
}

func lost(path, why string) error {
	if path == "" {
		return errors.New(why)
	}
	return fmt.Errorf("%s: %s", strings.TrimPrefix(path, "."), why)
}

func (c *checker) check(t reflect.Type, path string) error {
	switch {
	case c.on[t]:
		c.recursive = true
		return nil
	case c.done[t]:
		return nil
	case isRef(t), partOf(t) != nil:
		return nil // what it refers to is checked where it is made
	case embedsRef(t):
		return lost(path, "an embedded Ref takes the place of the whole struct: give the field a name")
	case t.Kind() != reflect.Interface && encodesItself(t):
		return nil
	}
	c.on[t] = true
	err := c.checkKind(t, path)
	delete(c.on, t)
	c.done[t] = err == nil
	return err
}

func (c *checker) checkKind(t reflect.Type, path string) error {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr, reflect.Complex64, reflect.Complex128:
		return lost(path, fmt.Sprintf("a %s cannot travel", t.Kind()))
	case reflect.Interface:
		return lost(path, "an interface does not say what to decode into")
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Pointer {
			return lost(path, "a pointer to a pointer loses which of them is nil")
		}
		return c.check(t.Elem(), path)
	case reflect.Slice, reflect.Array:
		return c.check(t.Elem(), path+"[]")
	case reflect.Map:
		if refers(t.Key(), map[reflect.Type]bool{}) {
			return lost(path+"[key]", "a Ref or Arrow data as a key is nothing to look up by")
		}
		if t.Key().Kind() == reflect.Pointer {
			return lost(path, "a pointer as a key loses which one it is")
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
			return lost(at, "an embedded pointer to an unexported type cannot be decoded")
		case embedded:
			continue // its fields are visible, and checked as such
		case !f.IsExported():
			return lost(at, "an unexported field is not encoded: export it, or leave it out with a cbor:\"-\" tag")
		}
		if name == "" {
			name = f.Name
		}
		if other := taken[name]; other != "" {
			return lost(at, fmt.Sprintf("is encoded as %q, and so is %s", name, other))
		}
		taken[name] = f.Name
		if err := c.check(f.Type, at); err != nil {
			return err
		}
	}
	return nil
}

// hidden reports whether a field of an embedded struct belongs to one that is encoded as a whole or not
// at all: a tag names it, or it brings its own encoding.
func hidden(t reflect.Type, f reflect.StructField) bool {
	for i := 1; i < len(f.Index); i++ {
		outer := t.FieldByIndex(f.Index[:i])
		if name, encoded := encodedName(outer); name != "" || !encoded || encodesItself(outer.Type) {
			return true
		}
	}
	return false
}

func isStruct(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct && !encodesItself(t)
}

// encodedName returns the name that the field's tag gives it, "" if it gives none; encoded is false for
// fields that a tag leaves out. As the encoding does, it looks at the cbor tag, then at the json tag.
func encodedName(f reflect.StructField) (name string, encoded bool) {
	tag, ok := f.Tag.Lookup("cbor")
	if !ok {
		tag = f.Tag.Get("json")
	}
	name, _, _ = strings.Cut(tag, ",")
	return name, tag != "-"
}

// checkDepth refuses values that are nested too deeply, cycles among them: encoding one would overflow
// the stack, and nothing can recover from that.
func checkDepth(v any) error { return depth(reflect.ValueOf(v), 0) }

var errTooDeep = fmt.Errorf("nested more than %d deep: is it a cycle?", maxDepth)

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
	default: // holds nothing
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
