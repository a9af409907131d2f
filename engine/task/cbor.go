package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"
)

// This is the part of CBOR that batches and records use, written by hand: each task passes through it twice, and a reader
// that returns parts of the message instead of copies does not allocate. Tests read all of it with
// github.com/fxamacker/cbor, too.

// Major types of RFC 8949, in the upper three bits of the first byte of an item.
const (
	majorUint  = 0 << 5
	majorMinus = 1 << 5 // -1-n
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
	majorMap   = 5 << 5
	majorTag   = 6 << 5
	majorOther = 7 << 5
)

func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return append(dst, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}

// AppendInt appends n to dst, as the bytes of a value of type CBOR.
func AppendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, majorMinus, ^uint64(n))
	}
	return appendHead(dst, majorUint, uint64(n))
}

// ReadInt reads what AppendInt writes. ok is false for anything else.
func ReadInt(b []byte) (n int64, ok bool) {
	r := reader{rest: b}
	major, u := r.head()
	if r.err != nil || len(r.rest) > 0 || u > math.MaxInt64 {
		return 0, false
	}
	switch major {
	case majorUint:
		return int64(u), true
	case majorMinus:
		return int64(^u), true
	}
	return 0, false
}

func appendUint(dst []byte, n uint64) []byte { return appendHead(dst, majorUint, n) }

func appendBytes(dst, b []byte) []byte {
	return append(appendHead(dst, majorBytes, uint64(len(b))), b...)
}

func appendText(dst []byte, s string) []byte {
	return append(appendHead(dst, majorText, uint64(len(s))), s...)
}

// appendField appends a key and a number, and nothing for 0: fields with the default are left out of a map.
func appendField(dst []byte, key, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return appendUint(appendUint(dst, key), n)
}

// fields returns how many of the numbers appendField appends.
func fields(numbers ...uint64) (n uint64) {
	for _, number := range numbers {
		if number != 0 {
			n++
		}
	}
	return n
}

var (
	errShort = errors.New("message ends early")
	errDepth = errors.New("nested too deeply")
)

// reader reads a message from its front. After the first error, which it keeps in err, it returns zero values, so callers
// check err once at the end. Bytes and texts that it returns are parts of the message.
type reader struct {
	rest []byte
	err  error
	refs int // how many references it has read, which take more memory than their bytes
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

// head reads the head of the next item: its major type and number. An indefinite length is an error.
func (r *reader) head() (major byte, n uint64) {
	if len(r.rest) == 0 {
		r.fail(errShort)
		return 0, 0
	}
	major, n = r.rest[0]&0xe0, uint64(r.rest[0]&0x1f)
	if n < 24 {
		r.rest = r.rest[1:]
		return major, n
	}
	if n > 27 {
		r.fail(fmt.Errorf("first byte %#x of an item: want a definite length", r.rest[0]))
		return 0, 0
	}
	size := 1 << (n - 24)
	if len(r.rest) < 1+size {
		r.fail(errShort)
		return 0, 0
	}
	n = 0
	for _, b := range r.rest[1 : 1+size] {
		n = n<<8 | uint64(b)
	}
	r.rest = r.rest[1+size:]
	return major, n
}

func (r *reader) want(want byte) uint64 {
	major, n := r.head()
	if major != want && r.err == nil {
		r.fail(fmt.Errorf("major type %d, want %d", major>>5, want>>5))
		return 0
	}
	return n
}

func (r *reader) uint() uint64 { return r.want(majorUint) }

// count reads the length of an array or map whose items take at least itemBytes each. A length that does not fit into the
// rest of the message is an error, so that callers can allocate by it.
func (r *reader) count(major byte, itemBytes int) int {
	n := r.want(major)
	if n > uint64(len(r.rest)/itemBytes) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

// small reads a number that must be below the limit.
func (r *reader) small(limit uint64) int {
	n := r.uint()
	if n >= limit {
		r.fail(fmt.Errorf("number %d, want less than %d", n, limit))
		return 0
	}
	return int(n)
}

func (r *reader) bytes() []byte { return r.take(r.want(majorBytes)) }

// text reads a string, which shares memory with the message.
func (r *reader) text() string {
	b := r.take(r.want(majorText))
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail(errShort)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// skip skips one item of any type: the value of a key that a newer program has written.
func (r *reader) skip(depth int) {
	if depth == 0 {
		r.fail(errDepth)
		return
	}
	major, n := r.head()
	switch major {
	case majorBytes, majorText:
		r.take(n)
	case majorTag:
		r.skip(depth - 1)
	case majorMap, majorArray:
		if n > uint64(len(r.rest)) {
			r.fail(errShort)
			return
		}
		items := n
		if major == majorMap {
			items *= 2
		}
		for ; items > 0 && r.err == nil; items-- {
			r.skip(depth - 1)
		}
	}
}

// maxSkipDepth bounds the recursion of skip.
const maxSkipDepth = 16
