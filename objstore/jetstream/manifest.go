package jetstream

import (
	"encoding/binary"
	"fmt"

	"github.com/tidemill/tidemill/objstore"
)

// manifest says what a value is: a version, its length in bytes, and the sum of each leaf.
type manifest struct {
	size int64
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

// decodeManifest reads a manifest. One that does not fit together is damaged: what it says would be allocated.
func decodeManifest(data []byte) (m manifest, err error) {
	if len(data) < manifestHead || data[0] != manifestVersion {
		return m, fmt.Errorf("%w: no manifest of version %d", objstore.ErrDamaged, manifestVersion)
	}
	size, digests := binary.BigEndian.Uint64(data[1:]), data[manifestHead:]
	count := len(digests) / sumBytes
	if len(digests)%sumBytes != 0 || size > uint64(count)*objstore.Leaf || objstore.Count(int64(size)) != count {
		return m, fmt.Errorf("%w: a manifest of %d bytes for a value of %d", objstore.ErrDamaged, len(data), size)
	}
	m.size = int64(size)
	m.sums = make([]objstore.Sum, count)
	for i := range m.sums {
		copy(m.sums[i][:], digests[i*sumBytes:])
	}
	return m, nil
}

// place copies a leaf to where it belongs, if it is what was put.
func (m manifest) place(i int, block, to []byte) error {
	if len(block) != len(to) || objstore.SumOf(block) != m.sums[i] {
		return fmt.Errorf("%w: leaf %d", objstore.ErrDamaged, i)
	}
	copy(to, block)
	return nil
}
