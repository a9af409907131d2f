package jetstream

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tidemill/tidemill/objstore"
)

// manifest says what a value is: a version, its length in bytes, and the digest of each leaf.
type manifest struct {
	size   int64
	leaves [][sha256.Size]byte
}

const (
	manifestVersion = 1
	manifestHead    = 1 + 8
)

func manifestOf(c *objstore.Content) manifest {
	return manifest{int64(len(c.Bytes())), c.Leaves()}
}

func (m manifest) encode() []byte {
	out := make([]byte, 0, manifestHead+len(m.leaves)*sha256.Size)
	out = binary.BigEndian.AppendUint64(append(out, manifestVersion), uint64(m.size))
	for _, leaf := range m.leaves {
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
	count := len(digests) / sha256.Size
	if len(digests)%sha256.Size != 0 || size > uint64(count)*objstore.Leaf || objstore.Count(int64(size)) != count {
		return m, fmt.Errorf("%w: a manifest of %d bytes for a value of %d", objstore.ErrDamaged, len(data), size)
	}
	m.size = int64(size)
	m.leaves = make([][sha256.Size]byte, count)
	for i := range m.leaves {
		copy(m.leaves[i][:], digests[i*sha256.Size:])
	}
	return m, nil
}

// place copies a leaf to where it belongs, if it is what was put.
func (m manifest) place(i int, block, to []byte) error {
	if len(block) != len(to) || sha256.Sum256(block) != m.leaves[i] {
		return fmt.Errorf("%w: leaf %d", objstore.ErrDamaged, i)
	}
	copy(to, block)
	return nil
}
