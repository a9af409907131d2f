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

// Leaf is the size in bytes of a leaf, the part of a value that has a digest and a checksum of its own. So a part of a value
// can be checked by itself, and the parts of a large value by several cores.
const Leaf = 512 << 10

// Sum is the checksum of a leaf: XXH3 of 128 bits, at a twentieth of the cost of a cryptographic digest. It detects damage,
// not malice: whoever may write values may write checksums, too.
type Sum [16]byte

// SumOf returns the checksum of a leaf.
func SumOf(data []byte) Sum { return Sum(xxh3.Hash128(data).Bytes()) }

// Sums returns the checksum of each leaf.
func (c *Content) Sums() []Sum {
	sums := make([]Sum, Count(int64(len(c.data))))
	each(len(sums), func(i int) { sums[i] = SumOf(LeafOf(c.data, i)) })
	return sums
}

// Content is the bytes of a value, with their digests, computed at first use. It is safe for concurrent use.
type Content struct {
	data   []byte
	once   sync.Once
	leaves [][sha256.Size]byte // set by once
}

// NewContent returns a content with these bytes, which must not be changed afterwards.
func NewContent(data []byte) *Content { return &Content{data: data} }

// Bytes returns the bytes, which must not be changed.
func (c *Content) Bytes() []byte { return c.data }

// Leaves returns the SHA-256 of each leaf. The last leaf may be shorter than Leaf.
func (c *Content) Leaves() [][sha256.Size]byte {
	c.once.Do(func() { c.leaves = leaves(c.data) })
	return c.leaves
}

// Digest returns the ID of the content: the SHA-256 of its length and of the digests of its leaves.
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

// Count returns the number of leaves of a value of that size in bytes.
func Count(size int64) int { return int((size + Leaf - 1) / Leaf) }

// LeafOf returns the bytes of the leaf with index i.
func LeafOf(data []byte, i int) []byte { return data[i*Leaf : min((i+1)*Leaf, len(data))] }

// leaves computes the digest of each leaf.
func leaves(data []byte) [][sha256.Size]byte {
	out := make([][sha256.Size]byte, Count(int64(len(data))))
	each(len(out), func(i int) { out[i] = sha256.Sum256(LeafOf(data, i)) })
	return out
}

// each calls work for each leaf, on all cores if there are enough leaves.
func each(leaves int, work func(i int)) {
	var next atomic.Int64
	worker := func() {
		for i := int(next.Add(1)) - 1; i < leaves; i = int(next.Add(1)) - 1 {
			work(i)
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), leaves/2) - 1 {
		others.Go(worker)
	}
	worker()
	others.Wait()
}

// clone copies bytes; a large value on all cores, since most of the time goes into the page faults of new memory.
func clone(data []byte) []byte {
	if len(data) <= 2*Leaf {
		return append([]byte(nil), data...)
	}
	out := unset(len(data))
	each(Count(int64(len(data))), func(i int) { copy(LeafOf(out, i), LeafOf(data, i)) })
	return out
}

// unset returns bytes that are not zeroed, for a caller who writes all of them: zeroing takes a third of the time of a large
// copy. The standard library offers this through strings.Builder. The result of [unsafe.StringData] is unspecified for an
// empty string, so one byte is written; no one else has the string, so its bytes may be changed.
func unset(size int) []byte {
	var b strings.Builder
	b.Grow(size)
	b.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(b.String()), size)
}
