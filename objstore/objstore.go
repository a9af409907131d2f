package objstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// ID names a value within a scope. It is the digest of its content (see Digest), or a fresh one.
type ID [32]byte

// String returns the ID in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Fresh returns an ID that nothing else has.
func Fresh() (id ID) {
	_, _ = rand.Read(id[:]) // it never fails
	return id
}

// Key names a value.
type Key struct {
	Scope string // a token of a subject: [a-z0-9_-]+
	ID    ID
}

// String returns the key as errors show it.
func (k Key) String() string { return k.Scope + "/" + k.ID.String()[:12] }

// Errors of tiers and stores.
var (
	ErrNotFound = errors.New("objstore: no such value")
	ErrNoRoom   = errors.New("objstore: no room")
	ErrTooLarge = errors.New("objstore: too large")
	ErrDamaged  = errors.New("objstore: the content is not what was put")
)

// TooLarge returns an ErrTooLarge that names both sizes.
func TooLarge(size, most int64) error {
	return fmt.Errorf("%w: %d bytes, and %d is the most", ErrTooLarge, size, most)
}

// Tier is one kind of place where values are kept. It is safe for concurrent use. What it is given to keep,
// nobody changes any more; what it hands out, neither.
type Tier interface {
	// Put keeps the content under the key. A key that is there already is left as it is: who puts under the
	// digest puts the same bytes. It waits for room; ErrNoRoom says that none came, ErrTooLarge that none can
	// come. If ctx ends before, some of it may be kept, but is not found.
	Put(ctx context.Context, key Key, content *Content) error
	// Stat returns how many bytes the value has, or ErrNotFound.
	Stat(ctx context.Context, key Key) (size int64, err error)
	// Get returns the value, which stays where it is until the pin is released.
	Get(ctx context.Context, key Key) (*Pin, error)
	// ReadAt fills p from the offset on, and returns how much it has filled: less than len(p) at the end.
	ReadAt(ctx context.Context, key Key, p []byte, offset int64) (int, error)
	// Remove forgets values. Those that are not there are passed over; pins stay good.
	Remove(ctx context.Context, keys ...Key) error
	// RemoveScope forgets all values of a scope.
	RemoveScope(ctx context.Context, scope string) error
}

// Pin is a value that somebody reads.
type Pin struct {
	data    []byte
	release func()
	once    sync.Once
}

// NewPin returns a pin on data; release is called once, by the first Release. nil = nothing is to be done.
func NewPin(data []byte, release func()) *Pin { return &Pin{data: data, release: release} }

// Bytes returns the value. It must not be changed. In this process its memory is the garbage collector's, so
// that a slice of it that is kept beyond Release still reads the same; it only is not counted any more.
func (p *Pin) Bytes() []byte { return p.data }

// Release gives the pin up. Releasing again does nothing.
func (p *Pin) Release() {
	if p.release != nil {
		p.once.Do(p.release)
	}
}

// From returns data from the offset on; nothing behind its end.
func From(data []byte, offset int64) []byte {
	return data[max(0, min(offset, int64(len(data)))):]
}
