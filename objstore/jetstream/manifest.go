package jetstream

import (
	"encoding/binary"
	"fmt"

	"github.com/tidemill/tidemill/objstore"
)

// manifest describes a stored value. It is encoded as a version, the value's size, and the checksum of each leaf.
type manifest struct {
	size int64 // bytes
	sums []objstore.Sum
}

const (
	manifestVersion = 1
	manifestHead    = 1 + 8
	sumBytes        = len(objstore.Sum{})
)

func manifestOf(c *objstore.Content) manifest {
	return manifest{int64(len(c.Bytes())), c.Sums()}
}

func (m manifest) encode() []byte {
	out := make([]byte, 0, manifestHead+len(m.sums)*sumBytes)
	out = binary.BigEndian.AppendUint64(append(out, manifestVersion), uint64(m.size))
	for _, leaf := range m.sums {
		out = append(out, leaf[:]...)
	}
	return out
}

// decodeManifest decodes a manifest. It checks that size and checksums match, since the reader allocates size bytes.
func decodeManifest(data []byte) (m manifest, err error) {
	if len(data) < manifestHead || data[0] != manifestVersion {
		return m, fmt.Errorf("%w: %d bytes that are no manifest of version %d", objstore.ErrDamaged, len(data), manifestVersion)
	}
	size, sums := binary.BigEndian.Uint64(data[1:]), data[manifestHead:]
	count := len(sums) / sumBytes
	if len(sums)%sumBytes != 0 || size > uint64(count)*objstore.Leaf || objstore.Count(int64(size)) != count {
		return m, fmt.Errorf("%w: its manifest has %d bytes, which do not fit a value of %d bytes", objstore.ErrDamaged, len(data), size)
	}
	m.size = int64(size)
	m.sums = make([]objstore.Sum, count)
	for i := range m.sums {
		copy(m.sums[i][:], sums[i*sumBytes:])
	}
	return m, nil
}

// copyLeaf copies the leaf with index i to its place in the value, unless its size or checksum is wrong.
func (m manifest) copyLeaf(i int, block, to []byte) error {
	if len(block) != len(to) {
		return fmt.Errorf("%w: leaf %d has %d bytes, want %d", objstore.ErrDamaged, i, len(block), len(to))
	}
	if objstore.SumOf(block) != m.sums[i] {
		return fmt.Errorf("%w: leaf %d has another checksum", objstore.ErrDamaged, i)
	}
	copy(to, block)
	return nil
}
