package objstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	_ "github.com/tidemill/tidemill/internal/platform" // refuses 32-bit platforms
)

// ID names a value within a scope. It is the digest of the content (see [Content.Digest]), or random (see [Fresh]).
type ID [32]byte

// String returns the ID in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Fresh returns a random ID.
func Fresh() (id ID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// Key names a value.
type Key struct {
	Scope string // one token of a subject: [a-z0-9_-]+
	ID    ID
}

// String returns the scope and the first 12 hex digits of the ID, for error messages.
func (k Key) String() string { return k.Scope + "/" + k.ID.String()[:12] }

// Errors of tiers and stores.
var (
	ErrNotFound = errors.New("objstore: no such value")
	ErrNoRoom   = errors.New("objstore: no space left")
	ErrTooLarge = errors.New("objstore: the value is too large")
	ErrDamaged  = errors.New("objstore: the content differs from what was put")
)

// TooLarge returns an ErrTooLarge with the value's size and the limit, in bytes.
func TooLarge(size, limit int64) error {
	return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrTooLarge, size, limit)
}

// Tier is a place where values are stored. It is safe for concurrent use. Nobody changes the bytes that it was given or
// has returned.
type Tier interface {
	// Put stores the content under the key. If the key exists already, Put does nothing: equal keys have equal content.
	// If the tier is full, Put may wait for space before it returns ErrNoRoom. ErrTooLarge says that the value can never
	// fit. If ctx ends first, the value is not found, though parts of it may take up space.
	Put(ctx context.Context, key Key, content *Content) error
	// Stat returns the value's size in bytes, or ErrNotFound.
	Stat(ctx context.Context, key Key) (size int64, err error)
	// Get returns the value, or ErrNotFound. Its bytes stay in memory until the pin is released.
	Get(ctx context.Context, key Key) (*Pin, error)
	// ReadAt copies bytes of the value, from the offset on, into p and returns how many: fewer than len(p) at the end.
	ReadAt(ctx context.Context, key Key, p []byte, offset int64) (int, error)
	// Remove removes values, and ignores keys that do not exist. Once it returns, they are not found and can be put again.
	// Pins on them stay valid.
	Remove(ctx context.Context, keys ...Key) error
	// RemoveScope removes all values of a scope, as Remove does.
	RemoveScope(ctx context.Context, scope string) error
}

// Pin is a reader's hold on a value. Its methods are safe for concurrent use.
type Pin struct {
	data    []byte
	release func()
	once    sync.Once
}

// NewPin returns a pin on data. The first Release calls release, unless that is nil.
func NewPin(data []byte, release func()) *Pin { return &Pin{data: data, release: release} }

// Bytes returns the value, which must not be changed. The garbage collector owns its memory: a slice kept after Release
// still reads the same, but no longer counts against the tier's limit.
func (p *Pin) Bytes() []byte { return p.data }

// Release ends the pin. Calling it again does nothing.
func (p *Pin) Release() {
	if p.release != nil {
		p.once.Do(p.release)
	}
}

// From returns data from the offset on; it is empty if the offset is beyond the end.
func From(data []byte, offset int64) []byte {
	return data[max(0, min(offset, int64(len(data)))):]
}
