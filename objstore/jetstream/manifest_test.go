package jetstream

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tidemill/tidemill/objstore"
)

// Bytes that decode as a manifest encode to the same bytes, and their size matches their number of checksums.
func FuzzManifest(f *testing.F) {
	for _, size := range []int{0, 1, objstore.Leaf + 1} {
		f.Add(manifestOf(objstore.NewContent(make([]byte, size))).encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeManifest(data)
		if err != nil {
			if !errors.Is(err, objstore.ErrDamaged) {
				t.Errorf("decode %x: got error %v, want %v", data, err, objstore.ErrDamaged)
			}
			return
		}
		if got := m.encode(); !bytes.Equal(got, data) {
			t.Errorf("decoded and encoded: got %x, want %x", got, data)
		}
		if want := objstore.Count(m.size); len(m.sums) != want {
			t.Errorf("decode %x: got %d checksums for %d bytes, want %d", data, len(m.sums), m.size, want)
		}
	})
}

// A leaf that differs from what was put is an error.
func TestDamagedLeaf(t *testing.T) {
	data := bytes.Repeat([]byte("tide"), 1000)
	m := manifestOf(objstore.NewContent(data))
	to := make([]byte, len(data))
	if err := m.copyLeaf(0, data, to); err != nil || !bytes.Equal(to, data) {
		t.Errorf("the leaf itself: got error %v, equal bytes %v; want no error, equal bytes", err, bytes.Equal(to, data))
	}
	for name, bad := range map[string][]byte{"empty": nil, "too short": data[1:], "changed": append([]byte("T"), data[1:]...)} {
		if err := m.copyLeaf(0, bad, to); !errors.Is(err, objstore.ErrDamaged) {
			t.Errorf("a leaf that is %s: got error %v, want %v", name, err, objstore.ErrDamaged)
		}
	}
}
