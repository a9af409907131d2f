package engine

import (
	"bytes"
	"encoding/json"
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

// codec turns values of T into bytes and back: []byte and string as they are, Arrow data as an Arrow stream,
// everything else as CBOR in its deterministic form, so that equal values have equal bytes. The commonest small
// types are written here, in the same form as the library would.
type codec[T any] struct {
	deep bool  // T holds itself, so a value of it may be a cycle
	plan *plan // where in a T Refs are; nil if there are none
}

func codecFor[T any]() codec[T] {
	s := shapeOf[T]()
	return codec[T]{deep: s.recursive, plan: s.plan}
}

// encoder and decoder of everything that has no form of its own here.
var (
	encoder = func() cbor.UserBufferEncMode {
		opts := cbor.CoreDetEncOptions()
		opts.Time = cbor.TimeRFC3339Nano // to the nanosecond, with the offset from UTC
		opts.TextMarshaler = cbor.TextMarshalerTextString
		mode, err := opts.UserBufferEncModeWithTags(holes)
		if err != nil {
			panic(err)
		}
		return mode
	}()
	decoder = func() cbor.DecMode {
		mode, err := cbor.DecOptions{
			MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32, MaxNestedLevels: maxDepth,
			UTF8:            cbor.UTF8DecodeInvalid, // a Go string may hold any bytes
			TextUnmarshaler: cbor.TextUnmarshalerTextString,
		}.DecModeWithTags(holes)
		if err != nil {
			panic(err)
		}
		return mode
	}()
	buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// maxDepth bounds how deeply values are nested.
const maxDepth = 10_000

// encode sets out, a value of CBOR, to the encoded value, and returns what that refers to. It appends to out's bytes, or
// leaves them alone.
func (c codec[T]) encode(out *task.Value, v T) ([]*session.Handle, error) {
	switch x := any(&v).(type) {
	case *[]byte:
		if *x == nil { // nil is no empty slice
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

// alias returns the value without copying it, if it is large bytes or text: for who copies it anyway before it
// returns to its owner.
func (c codec[T]) alias(v T) (task.Value, bool) {
	switch x := any(&v).(type) {
	case *[]byte:
		return task.Value{Type: task.Bytes, Data: *x}, len(*x) > values.InlineBytes
	case *string:
		return task.Value{Type: task.Text, Data: unsafe.Slice(unsafe.StringData(*x), len(*x))}, len(*x) > values.InlineBytes
	}
	return task.Value{}, false
}

// toSubmit is as encode, for an input, or a value that is put: into a scratch buffer, since sessions copy it.
func (c codec[T]) toSubmit(out *task.Value, scratch *[]byte, v T) ([]*session.Handle, error) {
	if whole, ok := c.alias(v); ok {
		*out = whole
		return nil, nil
	}
	out.Data = (*scratch)[:0]
	refs, err := c.encode(out, v)
	if err == nil && cap(out.Data) <= maxScratch {
		*scratch = out.Data[:0]
	}
	return refs, err
}

// maxScratch bounds the memory that a scratch buffer keeps.
const maxScratch = 1 << 20

func (c codec[T]) encodeAny(out *task.Value, v T) (_ []*session.Handle, err error) {
	if c.deep {
		if err := checkDepth(v); err != nil {
			return nil, err
		}
	}
	if c.plan == nil {
		out.Data, err = appendCBOR(out.Data, v)
		return nil, err
	}
	if c.plan.kind == planPart && !reflect.ValueOf(&v).Elem().IsNil() {
		*out, err = partOf(reflect.TypeFor[T]()).value(any(v))
		return nil, err
	}
	var to parts
	if err := c.plan.lift(reflect.ValueOf(&v).Elem(), &to); err != nil { // v is a copy
		return nil, err
	}
	out.Data, err = appendCBOR(out.Data, v)
	return to.handles, err
}

// appendCBOR appends the value in CBOR.
func appendCBOR(dst []byte, v any) ([]byte, error) {
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	if err := encoder.MarshalToBuffer(v, buf); err != nil {
		return nil, err
	}
	return append(dst, buf.Bytes()...), nil
}

// decode returns the value, which shares no memory with the bytes, but for Arrow data. in knows what references in
// it stand for.
func (c codec[T]) decode(v *task.Value, in inside) (out T, err error) {
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
		return out, nil
	}
	return c.decodeAny(v, in)
}

// decodeAny reads what has no form of its own. The error says what was there and what was wanted.
func (c codec[T]) decodeAny(v *task.Value, in inside) (T, error) {
	out, whole := new(T), *v // a copy, so that v need not be on the heap
	err := c.decodeInto(out, &whole, in)
	if err != nil {
		err = fmt.Errorf("%s is no %s: %w", typeInWords(v), reflect.TypeFor[T](), err)
	}
	return *out, err
}

func (c codec[T]) decodeInto(out *T, v *task.Value, in inside) (err error) {
	switch {
	case v.Type == task.JSON:
		err = json.Unmarshal(v.Data, out)
	case v.Type == task.Arrow && c.plan != nil && c.plan.kind == planPart:
		return decodePart(reflect.ValueOf(out).Elem(), v)
	case v.Type != task.CBOR:
		err = errOtherType
	default:
		err = decoder.Unmarshal(v.Data, out)
	}
	if err == nil && c.plan != nil {
		err = c.plan.fill(reflect.ValueOf(out).Elem(), &filler{v, in})
	}
	return err
}

var errOtherType = fmt.Errorf("another type of value")

// typeInWords says what kind of value the bytes are.
func typeInWords(v *task.Value) string {
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

// kindOfCBOR names the outermost item, by its major type (RFC 8949, 3.1).
func kindOfCBOR(data []byte) string {
	if len(data) == 0 {
		return "of no bytes"
	}
	return [...]string{"integer", "negative integer", "bytes", "text", "array", "map", "tag", "simple value or float"}[data[0]>>5]
}

func kindOfJSON(data []byte) string {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 {
		return "of no bytes"
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

// sortedKeys returns a map's keys in the order of their encodings.
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
	cborNull     = 0xf6
	cborEmptyMap = 0xa0
)
