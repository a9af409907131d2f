package engine

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/engine/task"
)

// valueCheck looks for what a value would lose in the encoding though its type would not. It also bounds the time that
// encoding takes: the encoder would follow a cycle until its stack is full, which ends the process, and it encodes what
// several pointers share once for each.
type valueCheck struct {
	parts int  // so far
	zones bool // there is a time whose offset from UTC is not in whole minutes
}

// checkValue returns an error if the value at would lose something in the encoding, which has this form. Times are put into
// zones that can be encoded, in at alone: the memory that it shares with the caller's value stays as it is.
func checkValue(f *form, times *plan, at reflect.Value) error {
	var first valueCheck
	err := first.check(f, at, 0)
	if !first.zones {
		return err
	}
	if err := times.extract(at, nil); err != nil { // a plan of times needs no table
		return err
	}
	return new(valueCheck).check(f, at, 0)
}

// maxParts bounds the parts of a value that are looked at one by one: the nodes of a recursive type, and others that can lose
// something.
const maxParts = 1 << 26

var (
	errTooDeep  = fmt.Errorf("the value is nested more than %d levels deep: does it contain a cycle?", maxDepth)
	errTooLarge = fmt.Errorf("%w: the value has more than %d parts when what pointers share is encoded for each: refer to parts by Refs", task.ErrTooLarge, maxParts)
)

// valueError says what a part of a value would lose. The path is that of the part, last step first.
type valueError struct {
	path []string
	err  error
}

func (e *valueError) Error() string {
	var path strings.Builder
	for _, step := range slices.Backward(e.path) {
		path.WriteString(step)
	}
	return lost(path.String(), e.err.Error()).Error()
}

func (e *valueError) Unwrap() error { return e.err }

// maxSteps is how many steps of a path an error shows: the innermost ones are left out.
const maxSteps = 16

// within adds the step to the path of the error.
func within(step string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := err.(*valueError) //nolint:errorlint // not wrapped
	if !ok {
		e = &valueError{err: err}
	}
	if len(e.path) == maxSteps {
		e.path = e.path[:copy(e.path, e.path[1:])]
	}
	e.path = append(e.path, step)
	return e
}

// check returns an error if the value would lose something. depth is how deeply it is nested.
func (c *valueCheck) check(f *form, v reflect.Value, depth int) error {
	if !f.checked {
		return nil
	}
	if c.parts++; c.parts > maxParts {
		return errTooLarge
	}
	if depth > maxDepth {
		return errTooDeep
	}
	switch f.kind {
	case formTime:
		c.time(v)
	case formPointer:
		return c.pointer(f, v, depth)
	case formSlice, formArray:
		for i := range v.Len() {
			if err := c.check(f.elem, v.Index(i), depth+1); err != nil {
				return within(fmt.Sprintf("[%d]", i), err)
			}
		}
	case formMap:
		return c.entries(f, v, depth)
	case formStruct:
		return c.structFields(f, v, depth)
	default: // contains no other value
	}
	return nil
}

func (c *valueCheck) time(v reflect.Value) {
	var t time.Time
	if v.CanAddr() {
		t = *v.Addr().Interface().(*time.Time) //nolint:forcetypeassert // formTime is for times alone
	} else {
		t = v.Interface().(time.Time) //nolint:forcetypeassert // formTime is for times alone
	}
	if _, offset := t.Zone(); offset%60 != 0 {
		c.zones = true
	}
}

// inWholeMinutes returns the same instant in a zone that RFC 3339 can write, whose offsets from UTC are in whole minutes.
func inWholeMinutes(t time.Time) time.Time {
	if _, offset := t.Zone(); offset%60 != 0 {
		return t.In(time.FixedZone("", offset-offset%60))
	}
	return t
}

func (c *valueCheck) pointer(f *form, v reflect.Value, depth int) error {
	if v.IsNil() {
		return nil
	}
	null := false
	switch f.elem.kind {
	case formSlice, formMap, formBytes, formArrow:
		null = v.Elem().IsNil()
	case formTime:
		null = v.Elem().Addr().Interface().(*time.Time).IsZero() //nolint:forcetypeassert // formTime is for times alone
	case formOwn:
		data, err := appendCBOR(nil, v.Interface())
		null = err == nil && len(data) == 1 && data[0] == cborNull
	default:
	}
	if null {
		return fmt.Errorf("a pointer to an empty %s arrives as nil: use a nil pointer, or no pointer", f.elem.t)
	}
	return c.check(f.elem, v.Elem(), depth+1)
}

func (c *valueCheck) entries(f *form, v reflect.Value, depth int) error {
	if !f.key.plainKey() {
		if err := checkKeys(f.key, v); err != nil {
			return within("[key]", err)
		}
	}
	if !f.key.checked && !f.elem.checked {
		return nil
	}
	for k, e := range v.Seq2() {
		if err := c.check(f.key, k, depth+1); err != nil {
			return within("[key]", err)
		}
		if err := c.check(f.elem, e, depth+1); err != nil {
			return within("[]", err)
		}
	}
	return nil
}

// checkKeys returns an error if keys of the map do not stay the same, or not different from each other.
func checkKeys(key *form, m reflect.Value) error {
	encoded := make(map[string]bool, m.Len())
	for k := range m.Seq() {
		if hasPointer(key, k) {
			return fmt.Errorf("a pointer in a map key loses its identity: use the value that it points to")
		}
		if !m.MapIndex(k).IsValid() { // it is a NaN, or contains one
			return errNaN(m.Type())
		}
		data, err := appendCBOR(nil, k.Interface())
		if err != nil {
			return err
		}
		if encoded[string(data)] {
			return fmt.Errorf("two keys of the %s are the same when they are encoded: use keys that differ in more than their identity", m.Type())
		}
		encoded[string(data)] = true
	}
	return nil
}

func errNaN(t reflect.Type) error {
	return fmt.Errorf("a key of the %s is not equal to itself (NaN): use other keys", t)
}

// hasPointer reports whether a map key contains a pointer that is not nil.
func hasPointer(f *form, v reflect.Value) bool {
	switch f.kind {
	case formPointer:
		return !v.IsNil()
	case formArray:
		for i := range v.Len() {
			if hasPointer(f.elem, v.Index(i)) {
				return true
			}
		}
	case formStruct:
		for i := range f.fields {
			if field, err := v.FieldByIndexErr(f.fields[i].index); err == nil && hasPointer(f.fields[i].form, field) {
				return true
			}
		}
	default: // contains no pointer that is encoded
	}
	return false
}

func (c *valueCheck) structFields(f *form, v reflect.Value, depth int) error {
	for i := range f.fields {
		field := &f.fields[i]
		if !field.form.checked && !field.needsCheck() {
			continue
		}
		var x reflect.Value
		if len(field.index) == 1 {
			x = v.Field(field.index[0])
		} else {
			var err error
			if x, err = v.FieldByIndexErr(field.index); err != nil {
				continue // in an embedded pointer that is nil
			}
		}
		if option := field.omits(x); option != "" {
			return within(field.path, fmt.Errorf("an empty %s that is not its zero value is left out because of %s: use the zero value, or remove %s", field.form.t, option, option))
		}
		if err := c.check(field.form, x, depth+1); err != nil {
			return within(field.path, err)
		}
	}
	return nil
}

// omits returns the option of the tag because of which the field is left out though its value is not zero, "" if none.
func (f *structField) omits(v reflect.Value) string {
	if !f.needsCheck() || v.IsZero() {
		return ""
	}
	if f.omitZero && f.form.kind != formTime {
		p := copyOf(v).Addr()
		z, ok := reflect.TypeAssert[interface{ IsZero() bool }](p)
		if p.Elem().Kind() == reflect.Pointer {
			z, ok = reflect.TypeAssert[interface{ IsZero() bool }](p.Elem())
		}
		if ok && z.IsZero() {
			return "omitzero"
		}
	}
	if !f.omitEmpty {
		return ""
	}
	switch f.form.kind {
	case formSlice, formMap, formBytes:
		if v.Len() == 0 {
			return "omitempty"
		}
	case formOwn, formOwnBytes, formOwnText:
		data, err := appendCBOR(nil, v.Interface())
		if err == nil && (len(data) == 1 && (data[0] == cborNull || data[0] == cborEmptyText || data[0] == cborEmptyBytes)) {
			return "omitempty"
		}
	default:
	}
	return ""
}
