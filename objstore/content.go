package objstore

import (
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/zeebo/xxh3"
)

// Leaf is how many bytes of a value have a digest and a sum of their own: a part of a value can be checked by
// itself, and a large value by several cores.
const Leaf = 512 << 10

// Sum tells whether bytes are what was put: XXH3 of 128 bits, which costs a twentieth of a cryptographic digest. It
// finds damage, and not malice: who may write values may write sums.
type Sum [16]byte

// SumOf returns the sum of some bytes.
func SumOf(data []byte) Sum { return Sum(xxh3.Hash128(data).Bytes()) }

// Sums returns the sum of each leaf.
func (c *Content) Sums() []Sum {
	sums := make([]Sum, Count(int64(len(c.data))))
	each(len(sums), func(i int) { sums[i] = SumOf(LeafOf(c.data, i)) })
	return sums
}

// Content is what is put: bytes, and their digests once somebody has asked for them.
type Content struct {
	data   []byte
	once   sync.Once
	leaves [][sha256.Size]byte
}

// NewContent returns the bytes as content. They must not be changed any more.
func NewContent(data []byte) *Content { return &Content{data: data} }

// Bytes returns the content.
func (c *Content) Bytes() []byte { return c.data }

// Leaves returns the SHA-256 of each Leaf of the content, the last of which may be shorter.
func (c *Content) Leaves() [][sha256.Size]byte {
	c.once.Do(func() { c.leaves = leaves(c.data) })
	return c.leaves
}

// Digest returns the ID by which the content is known: the SHA-256 of its length and its leaves.
func (c *Content) Digest() ID {
	h := sha256.New()
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(c.data)))
	h.Write(size[:])
	for _, leaf := range c.Leaves() {
		h.Write(leaf[:])
	}
	return ID(h.Sum(nil))
}

// Count returns how many leaves so many bytes have.
func Count(size int64) int { return int((size + Leaf - 1) / Leaf) }

// LeafOf returns the bytes of one leaf.
func LeafOf(data []byte, i int) []byte { return data[i*Leaf : min((i+1)*Leaf, len(data))] }

// leaves computes the digests.
func leaves(data []byte) [][sha256.Size]byte {
	out := make([][sha256.Size]byte, Count(int64(len(data))))
	each(len(out), func(i int) { out[i] = sha256.Sum256(LeafOf(data, i)) })
	return out
}

// each does the work of each leaf, on all cores if it is worth it.
func each(leaves int, work func(i int)) {
	var next atomic.Int64
	some := func() {
		for i := int(next.Add(1)) - 1; i < leaves; i = int(next.Add(1)) - 1 {
			work(i)
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), leaves/2) - 1 {
		others.Go(some)
	}
	some()
	others.Wait()
}

// clone copies bytes, large ones on all cores: it is the pages of fresh memory that take the time.
func clone(data []byte) []byte {
	if len(data) <= 2*Leaf {
		return append([]byte(nil), data...)
	}
	out := unset(len(data))
	each(Count(int64(len(data))), func(i int) { copy(LeafOf(out, i), LeafOf(data, i)) })
	return out
}

// unset returns bytes that nobody has zeroed, for a caller who writes all of them: a third of a large copy's time
// goes into zeroes otherwise. A strings.Builder is what the standard library has for it. [unsafe.StringData] tells
// nothing of an empty string, and so the string has a byte; nobody else knows the string, which may be changed thus.
func unset(size int) []byte {
	var b strings.Builder
	b.Grow(size)
	b.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(b.String()), size)
}
