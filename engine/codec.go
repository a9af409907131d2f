package engine

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/task"
)

// codec turns values of T into bytes and back: []byte and string as they are, everything else as CBOR in
// its deterministic form, so that equal values have equal bytes. The commonest small types are written
// here, in the same form as the library would.
type codec[T any] struct{ deep bool } // deep: T holds itself, so a value of it may be a cycle

func codecFor[T any]() codec[T] { return codec[T]{deep: shapeOf[T]().recursive} }

// encoder and decoder of everything that has no form of its own here.
var (
	encoder = func() cbor.UserBufferEncMode {
		opts := cbor.CoreDetEncOptions()
		opts.Time = cbor.TimeRFC3339Nano // to the nanosecond, with the offset from UTC
		opts.TextMarshaler = cbor.TextMarshalerTextString
		mode, err := opts.UserBufferEncMode()
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
		}.DecMode()
		if err != nil {
			panic(err)
		}
		return mode
	}()
	buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// maxDepth bounds how deeply values are nested.
const maxDepth = 10_000

// encode appends the encoded value to dst, which it may use or not.
func (c codec[T]) encode(dst []byte, v T) (task.Value, error) {
	switch x := any(&v).(type) {
	case *[]byte:
		if *x == nil { // nil is no empty slice
			return task.Value{Type: task.CBOR, Data: append(dst, cborNull)}, nil
		}
		return task.Value{Type: task.Bytes, Data: append(dst, *x...)}, nil
	case *string:
		return task.Value{Type: task.Text, Data: append(dst, *x...)}, nil
	case *int:
		return task.Value{Data: task.AppendInt(dst, int64(*x))}, nil
	case *int64:
		return task.Value{Data: task.AppendInt(dst, *x)}, nil
	case *None:
		return task.Value{Data: append(dst, cborEmptyMap)}, nil
	}
	return c.encodeAny(dst, v)
}

func (c codec[T]) encodeAny(dst []byte, v T) (task.Value, error) {
	if c.deep {
		if err := checkDepth(v); err != nil {
			return task.Value{}, err
		}
	}
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	if err := encoder.MarshalToBuffer(v, buf); err != nil {
		return task.Value{}, err
	}
	return task.Value{Data: append(dst, buf.Bytes()...)}, nil
}

// decode returns the value, which shares no memory with the bytes.
func (c codec[T]) decode(v task.Value) (out T, err error) {
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
		if n, ok := task.ReadInt(v.Data); ok {
			*x = int(n)
			return out, nil
		}
	case *int64:
		if n, ok := task.ReadInt(v.Data); ok {
			*x = n
			return out, nil
		}
	case *None:
		return out, nil
	}
	if v.Type != task.CBOR {
		return out, fmt.Errorf("value of type %d for %T", v.Type, out)
	}
	return c.decodeAny(v)
}

func (c codec[T]) decodeAny(v task.Value) (T, error) {
	out := new(T)
	err := decoder.Unmarshal(v.Data, out)
	return *out, err
}

// Single items of CBOR (RFC 8949, appendix B).
const (
	cborNull     = 0xf6
	cborEmptyMap = 0xa0
)
