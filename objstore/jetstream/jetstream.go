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

// Config bounds what is in flight.
type Config struct {
	// Window bounds the bytes of one Put that are sent and not yet acknowledged. 0 = 16 MiB.
	Window int
	// Readers bounds how many groups of leaves of one value are read at the same time. 0 = 2.
	Readers int
}

// Tier stores values in a stream. It owns a connection, so that large values do not delay small messages.
type Tier struct {
	cfg    Config
	broker *queues.Broker
	blocks *queues.Blocks
}

// Open connects to the server and creates the stream unless it exists. The caller closes the tier.
func Open(ctx context.Context, connect queues.Config, cfg Config) (*Tier, error) {
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
	t := &Tier{cfg: cfg, broker: b}
	if t.blocks, err = b.OpenBlocks(ctx, b.Objects()); err == nil && t.blocks.MaxBlock() < objstore.Leaf {
		err = fmt.Errorf("the server takes blocks of at most %d bytes, and a leaf has %d: raise its max_payload", t.blocks.MaxBlock(), objstore.Leaf)
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	return t, nil
}

// Close closes the connection. The values stay in the stream.
func (t *Tier) Close() { t.broker.Close() }

var _ objstore.Tier = (*Tier)(nil)

// groupLeaves is how many leaves form a group, which one request reads.
const groupLeaves = 16

func name(key objstore.Key) string { return key.Scope + "." + key.ID.String() }

func leafName(i int) string { return strconv.Itoa(i/groupLeaves) + "." + strconv.Itoa(i) }

const manifestName = "m.0"

// Put implements objstore.Tier. It does not wait for space.
func (t *Tier) Put(ctx context.Context, key objstore.Key, content *objstore.Content) error {
	if limit := t.maxSize(); int64(len(content.Bytes())) > limit {
		return fmt.Errorf("jetstream: put %s: %w", key, objstore.TooLarge(int64(len(content.Bytes())), limit))
	}
	_, err := t.manifest(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		if err = t.sendLeaves(ctx, key, content); err == nil {
			err = t.store(ctx, name(key)+"."+manifestName, manifestOf(content).encode())
		}
	}
	if err != nil {
		return fmt.Errorf("jetstream: put %s: %w", key, err)
	}
	return nil
}

// maxSize returns the size in bytes of the largest value whose manifest fits into one message.
func (t *Tier) maxSize() int64 {
	return int64((t.blocks.MaxBlock()-manifestHead)/sumBytes) * objstore.Leaf
}

// sendLeaves stores the leaves, with at most a window of bytes in flight.
func (t *Tier) sendLeaves(ctx context.Context, key objstore.Key, content *objstore.Content) error {
	w := newWindow(max(1, t.cfg.Window/objstore.Leaf))
	for i := range objstore.Count(int64(len(content.Bytes()))) {
		if err := w.enter(ctx); err != nil {
			return err
		}
		t.blocks.Send(name(key)+"."+leafName(i), objstore.LeafOf(content.Bytes(), i), w.leave)
	}
	return w.drain(ctx)
}

func (t *Tier) store(ctx context.Context, name string, data []byte) error {
	w := newWindow(1)
	if err := w.enter(ctx); err != nil {
		return err
	}
	t.blocks.Send(name, data, w.leave)
	return w.drain(ctx)
}

// window bounds how many sends are in flight.
type window struct {
	slots chan struct{} // has an element for each send in flight
	mu    sync.Mutex
	err   error // guarded by mu; the first error of a send
}

func newWindow(slots int) *window { return &window{slots: make(chan struct{}, slots)} }

// enter waits for a free slot. It returns the first error of a send, or the context's error.
func (w *window) enter(ctx context.Context) error {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// leave frees a slot; err is the result of its send.
func (w *window) leave(err error) {
	w.mu.Lock()
	if w.err == nil && err != nil {
		if errors.Is(err, queues.ErrFull) {
			err = fmt.Errorf("%w: %w", objstore.ErrNoRoom, err)
		}
		w.err = err
	}
	w.mu.Unlock()
	<-w.slots
}

// drain waits until nothing is in flight. Its slots stay taken: the window cannot be used again.
func (w *window) drain(ctx context.Context) error {
	for range cap(w.slots) {
		if err := w.enter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stat implements objstore.Tier.
func (t *Tier) Stat(ctx context.Context, key objstore.Key) (int64, error) {
	m, err := t.manifest(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("jetstream: stat %s: %w", key, err)
	}
	return m.size, nil
}

// manifest asks the stream's leader: a replica that lags behind still has the manifest of a value that was removed, and
// then Put would take the value for stored. The leaves may come from any replica, since their sums are checked.
func (t *Tier) manifest(ctx context.Context, key objstore.Key) (manifest, error) {
	data, err := t.blocks.GetFromLeader(ctx, name(key)+"."+manifestName)
	if errors.Is(err, queues.ErrNoBlock) {
		return manifest{}, objstore.ErrNotFound
	}
	if err != nil {
		return manifest{}, err
	}
	return decodeManifest(data)
}

// Get implements objstore.Tier. It returns a copy of the value, which the pin alone refers to.
func (t *Tier) Get(ctx context.Context, key objstore.Key) (*objstore.Pin, error) {
	m, err := t.manifest(ctx, key)
	var data []byte
	if err == nil {
		data = make([]byte, m.size)
		err = (&rangeReader{t, key, m, 0, len(m.sums), data}).all(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("jetstream: get %s: %w", key, err)
	}
	return objstore.NewPin(data, nil), nil
}

// ReadAt implements objstore.Tier. It reads the leaves that overlap the range.
func (t *Tier) ReadAt(ctx context.Context, key objstore.Key, p []byte, offset int64) (int, error) {
	m, err := t.manifest(ctx, key)
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
	if err := (&rangeReader{t, key, m, from, to, data}).all(ctx); err != nil {
		return 0, fmt.Errorf("jetstream: read %s: %w", key, err)
	}
	return copy(p[:end-offset], data[offset-first:]), nil
}

// Remove implements objstore.Tier.
func (t *Tier) Remove(ctx context.Context, keys ...objstore.Key) error {
	for _, key := range keys {
		if err := t.blocks.Purge(ctx, name(key)); err != nil {
			return fmt.Errorf("jetstream: remove %s: %w", key, err)
		}
	}
	return nil
}

// RemoveScope implements objstore.Tier.
func (t *Tier) RemoveScope(ctx context.Context, scope string) error {
	if err := t.blocks.Purge(ctx, scope); err != nil {
		return fmt.Errorf("jetstream: remove scope %s: %w", scope, err)
	}
	return nil
}
