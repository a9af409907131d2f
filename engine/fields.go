package engine

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// structField is a field of a struct as the CBOR library encodes it. The fields of embedded structs are fields of the struct.
type structField struct {
	path      string // Go names, from the struct to the field
	index     []int
	key       []byte // encoded name
	omitEmpty bool
	omitZero  bool
	inPointer bool // in an embedded pointer: not encoded while that is nil
	form      *form
}

// omittable reports whether an encoded struct can be without the field.
func (f *structField) omittable() bool { return f.omitEmpty || f.omitZero || f.inPointer }

// fieldsOf finds the fields of one struct, and what the library would lose of them.
type fieldsOf struct {
	outer   string // path of the struct
	fields  []structField
	taken   map[string]string // path of the field by encoded name
	toArray bool
}

// structFields returns the fields of a struct, with empty forms of their types, in the order in which they are encoded. The error says
// which field would be lost, and why.
// The path is that of the struct.
func structFields(t reflect.Type, path string) (*fieldsOf, error) {
	s := &fieldsOf{outer: path, taken: map[string]string{}}
	if f, ok := t.FieldByName("_"); ok {
		options := strings.Split(f.Tag.Get("cbor"), ",")[1:]
		if s.toArray = slices.Contains(options, "toarray"); slices.Contains(options, "toindefarray") {
			return nil, lost(path, "toindefarray is not supported: use toarray")
		}
	}
	if err := s.collect(t, structField{}, []reflect.Type{t}); err != nil {
		return nil, err
	}
	if !s.toArray {
		slices.SortFunc(s.fields, func(a, b structField) int { return bytes.Compare(a.key, b.key) })
	}
	return s, nil
}

// collect adds the fields of t, a struct that is embedded as outer says, in the last of these types.
func (s *fieldsOf) collect(t reflect.Type, outer structField, within []reflect.Type) error {
	for i := range t.NumField() {
		f := t.Field(i)
		at := structField{path: outer.path + "." + f.Name, index: append(slices.Clone(outer.index), i), inPointer: outer.inPointer}
		tag, excluded, err := tagOf(f)
		switch {
		case f.Name == "_" || excluded:
			continue
		case err != "":
			return s.lost(at.path, err)
		}
		name, options, _ := strings.Cut(tag, ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if f.Anonymous && name == "" && inner.Kind() == reflect.Struct {
			err := s.embed(f, at, append(slices.Clone(within), inner))
			if err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() {
			return s.lost(at.path, `an unexported field is not encoded: export it, or exclude it with a cbor:"-" tag`)
		}
		if name == "" {
			name = f.Name
		}
		if err := s.add(at, f.Type, name, strings.Split(options, ",")); err != nil {
			return err
		}
	}
	return nil
}

// embed adds the fields of the embedded struct f, the last of these types.
func (s *fieldsOf) embed(f reflect.StructField, at structField, within []reflect.Type) error {
	inner, pointer := within[len(within)-1], f.Type.Kind() == reflect.Pointer
	switch {
	case isRef(inner) || embedsRef(inner):
		return s.lost(at.path, "an embedded Ref hides the other fields of the struct from the encoder: give the field a name")
	case encodesItself(inner):
		return s.lost(at.path, "an embedded type with an encoding of its own is encoded field by field: give the field a name")
	case pointer && !f.IsExported():
		return s.lost(at.path, "an embedded pointer to an unexported type cannot be decoded: embed the struct itself")
	case pointer && s.toArray:
		return s.lost(at.path, "an embedded pointer in a struct with toarray would not arrive as nil: embed the struct itself")
	case slices.Contains(within[:len(within)-1], inner):
		return s.lost(at.path, "a struct that embeds itself is not encoded in full: give the field a name")
	}
	first := len(s.fields)
	outer := at
	outer.inPointer = false
	if err := s.collect(inner, outer, within); err != nil {
		return err
	}
	added := s.fields[first:]
	if pointer && !slices.ContainsFunc(added, func(f structField) bool { return !f.omittable() }) {
		return s.lost(at.path, "an embedded pointer without a field that is always encoded would arrive as nil: embed the struct itself")
	}
	for i := range added {
		added[i].inPointer = added[i].inPointer || pointer || at.inPointer
	}
	return nil
}

// add adds a field of this type, with the name and options of its tag.
func (s *fieldsOf) add(f structField, t reflect.Type, name string, options []string) error {
	f.omitEmpty, f.omitZero = slices.Contains(options, "omitempty"), slices.Contains(options, "omitzero")
	var key any = name
	if slices.Contains(options, "keyasint") {
		n, err := strconv.Atoi(name)
		if err != nil {
			return s.lost(f.path, fmt.Sprintf("the name %q is not an integer, as keyasint says", name))
		}
		key = n
	}
	if s.toArray {
		f.omitEmpty, f.omitZero = false, false
	}
	var err error
	if f.key, err = appendCBOR(nil, key); err != nil {
		return s.lost(f.path, err.Error())
	}
	if other := s.taken[string(f.key)]; other != "" {
		return s.lost(f.path, fmt.Sprintf("is encoded under the name %q, and so is %s: change one of the tags", name, other[1:]))
	}
	s.taken[string(f.key)] = f.path
	f.form = &form{t: t} // replaced by the caller
	s.fields = append(s.fields, f)
	return nil
}

// lost is lost for a field with this path in the struct.
func (s *fieldsOf) lost(path, why string) error { return lost(s.outer+path, why) }

// tagOf returns the tag that the CBOR library reads: the cbor tag, or the json tag if that is empty. A field that only JSON
// leaves out is an error, since its author may not have thought of tasks.
func tagOf(f reflect.StructField) (tag string, excluded bool, err string) {
	if tag = f.Tag.Get("cbor"); tag == "-" {
		return "", true, ""
	}
	if tag == "" {
		if tag = f.Tag.Get("json"); tag == "-" {
			return "", false, `a json:"-" tag leaves the field out: add a cbor:"-" tag if it may be lost, or a cbor tag with a name`
		}
	}
	return tag, false, ""
}
