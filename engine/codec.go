package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
)

// codec encodes and decodes values of T: []byte and string as they are, Arrow data as an Arrow stream, everything else as
// deterministic CBOR, so that equal values have equal bytes. The most common small types are encoded without the CBOR
// library, to the same bytes.
type codec[T any] struct {
	form  *form // how a T is encoded; nil if it would lose data
	plan  *plan // where in a T there can be Refs and Arrow data; nil if nowhere
	times *plan // where in a T there can be times; nil if nowhere
}

func codecOf[T any]() codec[T] {
	s := shapeOf[T]()
	return codec[T]{form: s.form, plan: s.plan, times: s.times}
}

// encoder and decoder are for all values that codec does not encode itself.
var (
	encoder = func() cbor.UserBufferEncMode {
		opts := cbor.CoreDetEncOptions()
		opts.Time = cbor.TimeRFC3339Nano // keeps nanoseconds and the offset from UTC
		opts.TextMarshaler = cbor.TextMarshalerTextString
		mode, err := opts.UserBufferEncModeWithTags(placeholderTags)
		if err != nil {
			panic(err)
		}
		return mode
	}()
	decoder = func() cbor.DecMode {
		mode, err := cbor.DecOptions{
			MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32, MaxNestedLevels: maxDepth,
			DupMapKey:       cbor.DupMapKeyEnforcedAPF,
			UTF8:            cbor.UTF8DecodeInvalid, // a Go string may contain any bytes
			TextUnmarshaler: cbor.TextUnmarshalerTextString,
		}.DecModeWithTags(placeholderTags)
		if err != nil {
			panic(err)
		}
		return mode
	}()
	buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// maxDepth bounds how deeply values may be nested.
const maxDepth = 10_000

// encode sets out to the encoded value, and returns the handles of the Refs in it, by index. out must be a value of type
// CBOR; the encoding is appended to out.Data or replaces it.
func (c codec[T]) encode(out *task.Value, v T) ([]*session.Handle, error) {
	switch x := any(&v).(type) {
	case *[]byte:
		if *x == nil { // a nil slice stays distinct from an empty one
			out.Data = append(out.Data, cborNull)
			return nil, nil
		}
		out.Type, out.Data = task.Bytes, append(out.Data, *x...)
	case *string:
		out.Type, out.Data = task.Text, append(out.Data, *x...)
	case *int:
		out.Data = task.AppendInt(out.Data, int64(*x))
	case *int64:
		out.Data = task.AppendInt(out.Data, *x)
	case *None:
		out.Data = append(out.Data, cborEmptyMap)
	default:
		return c.encodeAny(out, v)
	}
	return nil, nil
}

// alias returns the value without copying its bytes, if it is a large []byte or string. The caller must copy them before
// the owner of v can change them.
func (c codec[T]) alias(v T) (task.Value, bool) {
	switch x := any(&v).(type) {
	case *[]byte:
		return task.Value{Type: task.Bytes, Data: *x}, len(*x) > values.InlineBytes
	case *string:
		return task.Value{Type: task.Text, Data: unsafe.Slice(unsafe.StringData(*x), len(*x))}, len(*x) > values.InlineBytes
	}
	return task.Value{}, false
}

// encodeInput is encode for the input of a task or a value for Put. It encodes into the scratch buffer, or aliases v:
// the session copies the bytes before Submit or Put returns.
func (c codec[T]) encodeInput(out *task.Value, scratch *[]byte, v T) ([]*session.Handle, error) {
	if aliased, ok := c.alias(v); ok {
		*out = aliased
		return nil, nil
	}
	out.Data = (*scratch)[:0]
	refs, err := c.encode(out, v)
	if err == nil && cap(out.Data) <= maxScratch {
		*scratch = out.Data[:0]
	}
	return refs, err
}

// maxScratch is the largest capacity, in bytes, that a scratch buffer keeps for the next use.
const maxScratch = 1 << 20

func (c codec[T]) encodeAny(out *task.Value, v T) (_ []*session.Handle, err error) {
	defer recovered(&err)
	if c.form.checked {
		if err := checkValue(c.form, c.times, reflect.ValueOf(&v).Elem()); err != nil {
			return nil, err
		}
	}
	if c.plan == nil {
		out.Data, err = appendCBOR(out.Data, v)
		return nil, err
	}
	if c.plan.kind == planArrow && !reflect.ValueOf(&v).Elem().IsNil() {
		*out, err = arrowFormOf(reflect.TypeFor[T]()).encodeValue(any(v))
		return nil, err
	}
	var refs refTable
	if err := c.plan.extract(reflect.ValueOf(&v).Elem(), &refs); err != nil { // v is this function's own copy
		return nil, err
	}
	out.Data, err = appendCBOR(out.Data, v)
	return refs.handles, err
}

// recovered sets the error if a method of a user's type has panicked while a value was encoded or decoded.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("a method of the value, or of a part of it, panicked: %v", p)
	}
}

// appendCBOR appends the CBOR encoding of v.
func appendCBOR(dst []byte, v any) ([]byte, error) {
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	if err := encoder.MarshalToBuffer(v, buf); err != nil {
		return nil, err
	}
	return append(dst, buf.Bytes()...), nil
}

// decode returns the decoded value. It shares no memory with v.Data, except for Arrow data. refs has the handles of the
// references in it.
func (c codec[T]) decode(v *task.Value, refs refSource) (out T, err error) {
	switch x := any(&out).(type) {
	case *[]byte:
		if v.Type == task.Bytes {
			*x = append([]byte{}, v.Data...)
			return out, nil
		}
	case *string:
		if v.Type == task.Text {
			*x = strings.Clone(string(v.Data))
			return out, nil
		}
	case *int:
		if n, ok := task.ReadInt(v.Data); ok && v.Type == task.CBOR {
			*x = int(n)
			return out, nil
		}
	case *int64:
		if n, ok := task.ReadInt(v.Data); ok && v.Type == task.CBOR {
			*x = n
			return out, nil
		}
	case *None:
		if v.Type == task.CBOR && len(v.Data) == 1 && v.Data[0] == cborEmptyMap {
			return out, nil
		}
	}
	return c.decodeAny(v, refs)
}

// decodeAny decodes the values that decode does not decode itself. The error names the type of the value and T.
func (c codec[T]) decodeAny(v *task.Value, refs refSource) (T, error) {
	out, copied := new(T), *v // decodeInto makes its argument escape: a copy keeps v off the heap
	err := c.decodeInto(out, &copied, refs)
	if err != nil {
		err = fmt.Errorf("%s cannot be decoded into %s: %w", describe(v), reflect.TypeFor[T](), err)
	}
	return *out, err
}

func (c codec[T]) decodeInto(out *T, v *task.Value, refs refSource) (err error) {
	defer recovered(&err)
	switch {
	case c.form == nil:
		return shapeOf[T]().err
	case v.Type == task.JSON:
		err = json.Unmarshal(v.Data, out)
	case v.Type == task.Arrow && c.plan != nil && c.plan.kind == planArrow:
		return decodeArrow(reflect.ValueOf(out).Elem(), v)
	case v.Type != task.CBOR:
		err = errOtherType
	default:
		if err = c.form.fits(v.Data); err == nil {
			err = decoder.Unmarshal(v.Data, out)
		}
	}
	if err == nil && c.plan != nil {
		err = c.plan.restore(reflect.ValueOf(out).Elem(), &restorer{v, refs})
	}
	return err
}

// undecodable says that the input or result of a function cannot be decoded. If it is the encoding of another type, it says how
// that happens. The name is "" for a value that was put or imported.
func undecodable(noun, name, version string, err error) string {
	of := ""
	if name != "" {
		of = fmt.Sprintf(" of %s (Version %q)", name, version)
	}
	text := fmt.Sprintf("decode the %s%s: %v", noun, of, err)
	_, other := errors.AsType[*mismatch](err)
	switch {
	case !other && !errors.Is(err, errOtherType):
		return text
	case name == "":
		return text + ": the value was encoded as another type: use that type"
	case noun == "input":
		return text + ": it was submitted as another type: run the same program everywhere, or give the function another name when its types change"
	}
	return text + ": it was recorded as another type: change the function's Version when its types change"
}

var errOtherType = errors.New("the types differ")

// describe names the type of the encoded value.
func describe(v *task.Value) string {
	switch v.Type {
	case task.Bytes:
		return "a []byte"
	case task.Text:
		return "a string"
	case task.Arrow:
		return "an Arrow stream"
	case task.JSON:
		return "JSON " + kindOfJSON(v.Data)
	case task.CBOR:
		return "CBOR " + kindOfCBOR(v.Data)
	default:
		return fmt.Sprintf("a value of type %d", v.Type)
	}
}

// kindOfCBOR names the major type of the outermost item (RFC 8949, section 3.1).
func kindOfCBOR(data []byte) string {
	if len(data) == 0 {
		return "without any bytes"
	}
	return [...]string{"integer", "negative integer", "bytes", "text", "array", "map", "tag", "simple value or float"}[data[0]>>5]
}

func kindOfJSON(data []byte) string {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 {
		return "without any bytes"
	}
	switch data[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// sortedKeys returns the keys of a map, sorted by their encodings.
func sortedKeys(m reflect.Value) ([]reflect.Value, error) {
	keys := m.MapKeys()
	encoded := make(map[int][]byte, len(keys))
	order := make([]int, len(keys))
	for i, k := range keys {
		data, err := appendCBOR(nil, k.Interface())
		if err != nil {
			return nil, err
		}
		encoded[i], order[i] = data, i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(encoded[a], encoded[b]) })
	sorted := make([]reflect.Value, len(keys))
	for i, at := range order {
		sorted[i] = keys[at]
	}
	return sorted, nil
}

// Single items of CBOR (RFC 8949, appendix B).
const (
	cborNull       = 0xf6
	cborEmptyBytes = 0x40
	cborEmptyText  = 0x60
	cborEmptyMap   = 0xa0
)
