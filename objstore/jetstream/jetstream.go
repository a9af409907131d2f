package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/queues"
)

// Config says how values are moved.
type Config struct {
	// Window bounds the bytes of one Put that are under way and not stored. 0 = 16 MiB.
	Window int
	// Readers bounds how many parts of a value are read at a time. 0 = 2.
	Readers int
}

// Shelf keeps values in a stream. It owns a connection, so that large values do not stand in the way of small
// messages.
type Shelf struct {
	cfg    Config
	broker *queues.Broker
	blocks *queues.Blocks
}

// Open connects, and makes the stream if there is none yet.
func Open(ctx context.Context, connect queues.Config, cfg Config) (*Shelf, error) {
	if cfg.Window == 0 {
		cfg.Window = 16 << 20
	}
	if cfg.Readers == 0 {
		cfg.Readers = 2
	}
	b, err := queues.Connect(connect)
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	s := &Shelf{cfg: cfg, broker: b}
	if s.blocks, err = b.OpenBlocks(ctx, b.Objects()); err == nil && s.blocks.MaxBlock() < objstore.Leaf {
		err = fmt.Errorf("the server takes messages of %d bytes, and a leaf has %d: max_payload is too small", s.blocks.MaxBlock(), objstore.Leaf)
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	return s, nil
}

// Close ends the connection. Values stay where they are.
func (s *Shelf) Close() { s.broker.Close() }

var _ objstore.Tier = (*Shelf)(nil)

// groupLeaves is how many leaves are read by one request for a group.
const groupLeaves = 16

func name(key objstore.Key) string { return key.Scope + "." + key.ID.String() }

func leafName(i int) string { return strconv.Itoa(i/groupLeaves) + "." + strconv.Itoa(i) }

const manifestName = "m.0"

// Put makes the shelf an objstore.Tier.
func (s *Shelf) Put(ctx context.Context, key objstore.Key, content *objstore.Content) error {
	if most := s.maxSize(); int64(len(content.Bytes())) > most {
		return fmt.Errorf("jetstream: put %s: %w", key, objstore.TooLarge(int64(len(content.Bytes())), most))
	}
	_, err := s.manifest(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		if err = s.sendLeaves(ctx, key, content); err == nil {
			err = s.store(ctx, name(key)+"."+manifestName, manifestOf(content).encode())
		}
	}
	if err != nil {
		return fmt.Errorf("jetstream: put %s: %w", key, err)
	}
	return nil
}

// maxSize is where a manifest becomes too large for a message.
func (s *Shelf) maxSize() int64 {
	return int64((s.blocks.MaxBlock()-manifestHead)/sumBytes) * objstore.Leaf
}

// sendLeaves stores the content, a window of bytes at a time.
func (s *Shelf) sendLeaves(ctx context.Context, key objstore.Key, content *objstore.Content) error {
	w := newWindow(max(1, s.cfg.Window/objstore.Leaf))
	for i := range objstore.Count(int64(len(content.Bytes()))) {
		if err := w.enter(ctx); err != nil {
			return err
		}
		s.blocks.Send(name(key)+"."+leafName(i), objstore.LeafOf(content.Bytes(), i), w.leave)
	}
	return w.drain(ctx)
}

func (s *Shelf) store(ctx context.Context, name string, data []byte) error {
	w := newWindow(1)
	if err := w.enter(ctx); err != nil {
		return err
	}
	s.blocks.Send(name, data, w.leave)
	return w.drain(ctx)
}

// window bounds what is under way.
type window struct {
	places chan struct{}
	mu     sync.Mutex
	err    error // guarded by mu; the first refusal
}

func newWindow(places int) *window { return &window{places: make(chan struct{}, places)} }

// enter waits for a place. It returns the first refusal, or the context's error.
func (w *window) enter(ctx context.Context) error {
	select {
	case w.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *window) leave(err error) {
	w.mu.Lock()
	if w.err == nil && err != nil {
		if errors.Is(err, queues.ErrFull) {
			err = fmt.Errorf("%w: %w", objstore.ErrNoRoom, err)
		}
		w.err = err
	}
	w.mu.Unlock()
	<-w.places
}

// drain waits until nothing is under way.
func (w *window) drain(ctx context.Context) error {
	for range cap(w.places) {
		if err := w.enter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stat makes the shelf an objstore.Tier.
func (s *Shelf) Stat(ctx context.Context, key objstore.Key) (int64, error) {
	m, err := s.manifest(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("jetstream: stat %s: %w", key, err)
	}
	return m.size, nil
}

// manifest asks the stream's leader: a replica that lags behind still has the manifest of a value that was removed, and
// then Put would take the value for stored. The leaves may come from any replica, since their sums are checked.
func (s *Shelf) manifest(ctx context.Context, key objstore.Key) (manifest, error) {
	data, err := s.blocks.GetFromLeader(ctx, name(key)+"."+manifestName)
	if errors.Is(err, queues.ErrNoBlock) {
		return manifest{}, objstore.ErrNotFound
	}
	if err != nil {
		return manifest{}, err
	}
	return decodeManifest(data)
}

// Get makes the shelf an objstore.Tier. It brings the value into memory of its own.
func (s *Shelf) Get(ctx context.Context, key objstore.Key) (*objstore.Pin, error) {
	m, err := s.manifest(ctx, key)
	var data []byte
	if err == nil {
		data = make([]byte, m.size)
		err = (&reading{s, key, m, 0, len(m.sums), data}).all(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("jetstream: get %s: %w", key, err)
	}
	return objstore.NewPin(data, nil), nil
}

// ReadAt makes the shelf an objstore.Tier. It reads the leaves that the range touches.
func (s *Shelf) ReadAt(ctx context.Context, key objstore.Key, p []byte, offset int64) (int, error) {
	m, err := s.manifest(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("jetstream: read %s: %w", key, err)
	}
	offset = max(0, offset)
	end := min(offset+int64(len(p)), m.size)
	if offset >= end {
		return 0, nil
	}
	from, to := int(offset/objstore.Leaf), objstore.Count(end)
	first := int64(from) * objstore.Leaf
	data := make([]byte, min(int64(to)*objstore.Leaf, m.size)-first)
	if err := (&reading{s, key, m, from, to, data}).all(ctx); err != nil {
		return 0, fmt.Errorf("jetstream: read %s: %w", key, err)
	}
	return copy(p[:end-offset], data[offset-first:]), nil
}

// Remove makes the shelf an objstore.Tier.
func (s *Shelf) Remove(ctx context.Context, keys ...objstore.Key) error {
	for _, key := range keys {
		if err := s.blocks.Purge(ctx, name(key)); err != nil {
			return fmt.Errorf("jetstream: remove %s: %w", key, err)
		}
	}
	return nil
}

// RemoveScope makes the shelf an objstore.Tier.
func (s *Shelf) RemoveScope(ctx context.Context, scope string) error {
	if err := s.blocks.Purge(ctx, scope); err != nil {
		return fmt.Errorf("jetstream: remove scope %s: %w", scope, err)
	}
	return nil
}
