package engine

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// shape is what shapeOf has found out about a type whose values are encoded.
type shape struct {
	err       error // why values would lose data; nil if they would not
	recursive bool  // the type contains itself
	form      *form // how its values are encoded; nil if err is not
	plan      *plan // where in its values there can be Refs and Arrow data; nil if nowhere
	times     *plan // where in its values there can be times; nil if nowhere
}

var shapes sync.Map // *shape by reflect.Type

func shapeOf[T any]() *shape {
	t := reflect.TypeFor[T]()
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := newShape(t)
	shapes.Store(t, s)
	return s
}

func newShape(t reflect.Type) *shape {
	c := checker{visiting: map[reflect.Type]bool{}, made: map[reflect.Type]*form{}}
	f, err := c.check(t, "")
	if err != nil {
		return &shape{err: err}
	}
	c.spread()
	return &shape{form: f, recursive: c.recursive, plan: planOf(t, dataLeaf), times: planOf(t, timeLeaf)}
}

// checkType returns an error if a value of T would lose data in the encoding: unexported and interface fields, channels,
// functions, and so on. The error has the path of the field. The noun says what T is used for, such as "input".
func checkType[T any](noun string) error {
	if err := shapeOf[T]().err; err != nil {
		return fmt.Errorf("%s %s: %w", noun, reflect.TypeFor[T](), err)
	}
	return nil
}

// checker makes the form of a type. Make one for each type.
type checker struct {
	visiting  map[reflect.Type]bool  // the types on the path from the root to the current one
	made      map[reflect.Type]*form // forms of all types so far; those on the path are not complete
	recursive bool                   // set if a type on the path contains itself
}

var refPath = reflect.TypeFor[Ref[int]]().PkgPath()

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

// lost returns an error that says why the value at the path would lose data.
func lost(path, why string) error {
	if path == "" {
		return errors.New(why)
	}
	return fmt.Errorf("%s: %s", strings.TrimPrefix(path, "."), why)
}

func (c *checker) check(t reflect.Type, path string) (*form, error) {
	if f := c.made[t]; f != nil {
		if c.visiting[t] {
			c.recursive, f.checked = true, true
		}
		return f, nil
	}
	f := &form{t: t}
	c.made[t] = f
	c.visiting[t] = true
	err := c.fill(f, path)
	delete(c.visiting, t)
	if err != nil {
		return nil, err
	}
	f.checked = f.checked || f.needsCheck()
	return f, nil
}

// fill completes the form.
func (c *checker) fill(f *form, path string) (err error) {
	t := f.t
	switch {
	case isRef(t):
		f.kind = formRef // what a Ref refers to is checked where the Ref is made
		return nil
	case arrowFormOf(t) != nil:
		f.kind = formArrow
		return nil
	case embedsRef(t):
		return lost(path, "an embedded Ref hides the other fields of the struct from the encoder: give the field a name")
	case t.Kind() != reflect.Interface && t.Kind() != reflect.Pointer:
		var why string
		if f.kind, why = ownForm(t); why != "" {
			return lost(path, why)
		}
		if f.kind != formNone {
			return nil
		}
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Uintptr, reflect.Complex64, reflect.Complex128:
		return lost(path, fmt.Sprintf("a %s cannot be encoded", t.Kind()))
	case reflect.Interface:
		return lost(path, "an interface does not say which type to decode: use a concrete type")
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Pointer {
			return lost(path, "a pointer to a pointer cannot keep which of the two is nil: use one pointer")
		}
		f.kind = formPointer
		f.elem, err = c.check(t.Elem(), path)
	case reflect.Slice, reflect.Array:
		if f.kind = listForm(t); f.kind == formSlice || f.kind == formArray {
			f.elem, err = c.check(t.Elem(), path+"[]")
		}
	case reflect.Map:
		err = c.fillMap(f, path)
	case reflect.Struct:
		err = c.fillStruct(f, path)
	default:
		f.kind = basicForm(t.Kind())
	}
	return err
}

// listForm returns the form of a slice or an array.
func listForm(t reflect.Type) formKind {
	slice, ofBytes := t.Kind() == reflect.Slice, t.Elem().Kind() == reflect.Uint8
	switch {
	case slice && ofBytes:
		return formBytes
	case slice:
		return formSlice
	case ofBytes:
		return formByteArray
	}
	return formArray
}

// basicForm returns the form of numbers, booleans and strings.
func basicForm(k reflect.Kind) formKind {
	switch k {
	case reflect.Bool:
		return formBool
	case reflect.String:
		return formText
	case reflect.Float32, reflect.Float64:
		return formFloat
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return formInt
	default:
		return formUint
	}
}

func (c *checker) fillMap(f *form, path string) (err error) {
	f.kind = formMap
	key := f.t.Key()
	if refers(key, dataLeaf, map[reflect.Type]bool{}) {
		return lost(path+"[key]", "a Ref or Arrow data cannot be a map key: use it as a value")
	}
	if key.Kind() == reflect.Pointer {
		return lost(path, "a pointer as a map key loses its identity: use the value that it points to")
	}
	if f.key, err = c.check(key, path+"[key]"); err == nil {
		f.elem, err = c.check(f.t.Elem(), path+"[]")
	}
	return err
}

func (c *checker) fillStruct(f *form, path string) error {
	f.kind = formStruct
	s, err := structFields(f.t, path)
	if err != nil {
		return err
	}
	f.fields, f.toArray = s.fields, s.toArray
	for i := range f.fields {
		if f.fields[i].form, err = c.check(f.fields[i].form.t, path+f.fields[i].path); err != nil {
			return err
		}
	}
	return nil
}

// spread sets checked for all forms that contain one for which it is set.
func (c *checker) spread() {
	for again := true; again; {
		again = false
		for _, f := range c.made {
			for part := range f.parts {
				if part.checked && !f.checked {
					f.checked, again = true, true
				}
			}
		}
	}
}
