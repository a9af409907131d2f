package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// A mismatch says where encoded bytes do not have the form of the type that they are to be decoded into: they are the
// encoding of another type. The CBOR library alone would take many of them, leave out what it does not know, and set the
// rest to zero.
type mismatch struct{ error }

// fits returns a mismatch if the data does not have the form.
func (f *form) fits(data []byte) error {
	r := itemReader{rest: data}
	if err := f.fit(&r); err != nil {
		return &mismatch{err}
	}
	if len(r.rest) > 0 {
		return &mismatch{fmt.Errorf("%d bytes after the end", len(r.rest))}
	}
	return nil
}

// itemReader reads CBOR (RFC 8949, section 3) of definite lengths.
type itemReader struct {
	rest  []byte
	depth int
}

// Major types of CBOR items (RFC 8949, section 3.1), and floats, which are of the last one.
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
	majorFloat // not a major type
)

var errCut = errors.New("the bytes end too early")

// head reads the head of an item: its major type and its argument.
func (r *itemReader) head() (major int, n uint64, err error) {
	if len(r.rest) == 0 {
		return 0, 0, errCut
	}
	first := r.rest[0]
	major, n = int(first>>5), uint64(first&31)
	size := 0
	switch {
	case n >= 24 && n < 28:
		size = 1 << (n - 24)
	case n >= 28:
		return 0, 0, fmt.Errorf("an item of indefinite length or unknown kind (0x%x)", first)
	}
	if len(r.rest) < 1+size {
		return 0, 0, errCut
	}
	if size > 0 {
		var wide [8]byte
		copy(wide[8-size:], r.rest[1:1+size])
		n = binary.BigEndian.Uint64(wide[:])
	}
	if major == majorSimple && size > 1 {
		major = majorFloat
	}
	r.rest = r.rest[1+size:]
	if (major == majorBytes || major == majorText || major == majorArray) && n > uint64(len(r.rest)) || major == majorMap && n > uint64(len(r.rest))/2 {
		return 0, 0, errCut
	}
	return major, n, nil
}

// null reads a null, if there is one.
func (r *itemReader) null() bool {
	if len(r.rest) > 0 && r.rest[0] == cborNull {
		r.rest = r.rest[1:]
		return true
	}
	return false
}

// skip reads an item with all it contains.
func (r *itemReader) skip() error {
	if r.depth++; r.depth > maxDepth {
		return errTooDeep
	}
	defer func() { r.depth-- }()
	major, n, err := r.head()
	if err != nil {
		return err
	}
	switch major {
	case majorBytes, majorText:
		r.rest = r.rest[n:]
		return nil
	case majorMap:
		n *= 2
	case majorTag:
		n = 1
	case majorArray:
	default:
		return nil
	}
	for ; n > 0; n-- {
		if err := r.skip(); err != nil {
			return err
		}
	}
	return nil
}

// fit reads an item that must have the form.
func (f *form) fit(r *itemReader) error {
	if r.depth++; r.depth > 2*maxDepth { // a pointer is a level of its own
		return errTooDeep
	}
	defer func() { r.depth-- }()
	if f.kind == formPointer {
		if r.null() {
			return nil
		}
		return f.elem.fit(r)
	}
	if f.kind == formOwn {
		return r.skip()
	}
	if f.nullable() && r.null() {
		return nil
	}
	at := r.rest
	major, n, err := r.head()
	if err != nil {
		return err
	}
	if !f.accepts(major, n) {
		return fmt.Errorf("got CBOR %s, want %s", kindOfCBOR(at), f)
	}
	return f.fitParts(r, major, n)
}

// accepts reports whether the head of an item is one of the form.
func (f *form) accepts(major int, n uint64) bool {
	switch f.kind {
	case formBool:
		return major == majorSimple && (n == 20 || n == 21)
	case formInt:
		return major == majorUint || major == majorNegative
	case formUint:
		return major == majorUint
	case formFloat:
		return major == majorFloat
	case formText, formOwnText, formTime:
		return major == majorText
	case formBytes, formByteArray, formOwnBytes:
		return major == majorBytes
	case formBigInt:
		return major == majorUint || major == majorNegative || major == majorTag && (n == 2 || n == 3)
	case formRef:
		return major == majorTag && n == placeholderTag
	case formArrow:
		return major == majorTag && n == arrowFormOf(f.t).tag
	case formSlice, formArray:
		return major == majorArray
	case formMap:
		return major == majorMap
	case formStruct:
		return f.toArray && major == majorArray || !f.toArray && major == majorMap
	default: // nothing, a pointer, or an encoding of the type's own: looked at before
		return false
	}
}

// fitParts reads what an item contains whose head was read.
func (f *form) fitParts(r *itemReader, major int, n uint64) error {
	switch {
	case f.kind == formByteArray && n != uint64(f.t.Len()):
		return fmt.Errorf("got %d bytes, want %s", n, f)
	case major == majorBytes || major == majorText:
		r.rest = r.rest[n:]
	case major == majorTag:
		return r.skip()
	case f.kind == formStruct:
		return f.fitFields(r, n)
	case f.kind == formArray && n != uint64(f.t.Len()):
		return fmt.Errorf("got an array of %d elements, want %s", n, f)
	case f.kind == formSlice || f.kind == formArray:
		for i := range n {
			if err := f.elem.fit(r); err != nil {
				return within(fmt.Sprintf("[%d]", i), err)
			}
		}
	case f.kind == formMap:
		for range n {
			if err := f.key.fit(r); err != nil {
				return within("[key]", err)
			}
			if err := f.elem.fit(r); err != nil {
				return within("[]", err)
			}
		}
	}
	return nil
}

// fitFields reads the n fields of a struct. They are in the order in which the library encodes them.
func (f *form) fitFields(r *itemReader, n uint64) error {
	if f.toArray && n != uint64(len(f.fields)) {
		return fmt.Errorf("got an array of %d elements, want one for each of the %d fields of %s", n, len(f.fields), f.t)
	}
	next := 0
	for range n {
		if !f.toArray {
			key := r.rest
			if err := r.skip(); err != nil {
				return err
			}
			key = key[:len(key)-len(r.rest)]
			for next < len(f.fields) && !bytes.Equal(f.fields[next].key, key) {
				if !f.fields[next].omittable() {
					return f.misses(next, key)
				}
				next++
			}
			if next == len(f.fields) {
				return fmt.Errorf("got a field %s, which %s does not have", keyText(key), f.t)
			}
		}
		if err := f.fields[next].form.fit(r); err != nil {
			return within(f.fields[next].path, err)
		}
		next++
	}
	for ; next < len(f.fields); next++ {
		if !f.fields[next].omittable() {
			return f.misses(next, nil)
		}
	}
	return nil
}

// misses says that field i is not where it must be; at its place is a field with the key, or the end.
func (f *form) misses(i int, key []byte) error {
	field := &f.fields[i]
	for j := range f.fields {
		if bytes.Equal(f.fields[j].key, key) {
			key = nil // it is the field that is missing
		}
	}
	if key != nil {
		return fmt.Errorf("got a field %s, which %s does not have", keyText(key), f.t)
	}
	return within(field.path, fmt.Errorf("the field is missing, want %s", field.form))
}

// keyText shows the encoded key of a field.
func keyText(key []byte) string {
	var name any
	if err := decoder.Unmarshal(key, &name); err != nil {
		return fmt.Sprintf("%x", key)
	}
	return fmt.Sprintf("%q", fmt.Sprint(name))
}
