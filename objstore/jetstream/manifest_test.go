package jetstream

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tidemill/tidemill/objstore"
)

// What reads as a manifest is written as it was, and asks for no more memory than its digests stand for.
func FuzzManifest(f *testing.F) {
	for _, size := range []int{0, 1, objstore.Leaf + 1} {
		f.Add(manifestOf(objstore.NewContent(make([]byte, size))).encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data)
		if err != nil {
			if !errors.Is(err, objstore.ErrDamaged) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(m.encode(), data) || objstore.Count(m.size) != len(m.sums) {
			t.Errorf("%x is %d bytes in %d leaves", data, m.size, len(m.sums))
		}
	})
}

// A leaf that is not what was put is noticed.
func TestDamagedLeaf(t *testing.T) {
	data := bytes.Repeat([]byte("tide"), 1000)
	m := manifestOf(objstore.NewContent(data))
	to := make([]byte, len(data))
	if err := m.place(0, data, to); err != nil || !bytes.Equal(to, data) {
		t.Errorf("whole: %v", err)
	}
	for _, bad := range [][]byte{nil, data[1:], append([]byte("T"), data[1:]...)} {
		if err := m.place(0, bad, to); !errors.Is(err, objstore.ErrDamaged) {
			t.Errorf("damaged: %v", err)
		}
	}
}
