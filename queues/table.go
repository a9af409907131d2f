package queues

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Table keeps the last message of each key, with a revision for compare-and-set. It is a key-value
// bucket: any NATS client can look into it.
type Table struct {
	name TableName
	kv   jetstream.KeyValue
}

// Row is what a key has. Deleted rows have no value.
type Row struct {
	Key      string
	Value    []byte
	Revision uint64
	Written  time.Time // by the server's clock
	Deleted  bool
}

// Errors of Get, Create and Update.
var (
	ErrNoRow    = errors.New("queues: no such row")
	ErrRevision = errors.New("queues: the row is at another revision")
)

// TableOption changes how a table is kept.
type TableOption func(*jetstream.KeyValueConfig)

// Aging lets rows vanish after that age.
func Aging(age time.Duration) TableOption {
	return func(cfg *jetstream.KeyValueConfig) { cfg.TTL = age }
}

// OpenTable returns the table, which it makes if there is none yet.
func (b *Broker) OpenTable(ctx context.Context, name TableName, opts ...TableOption) (*Table, error) {
	cfg := jetstream.KeyValueConfig{Bucket: string(name)}
	for _, opt := range opts {
		opt(&cfg)
	}
	if b.cfg.Storage == Memory {
		cfg.Storage = jetstream.MemoryStorage
	}
	kv, err := b.js.CreateOrUpdateKeyValue(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("queues: open table %s: %w", name, err)
	}
	return &Table{name, kv}, nil
}

// Get returns the row, or ErrNoRow.
func (t *Table) Get(ctx context.Context, key string) (Row, error) {
	e, err := t.kv.Get(ctx, key)
	if err != nil {
		return Row{}, t.wrap("get", key, err)
	}
	return Row{Key: key, Value: e.Value(), Revision: e.Revision(), Written: e.Created()}, nil
}

// Put writes the row whatever it was, and returns its revision.
func (t *Table) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	revision, err := t.kv.Put(ctx, key, value)
	return revision, t.wrap("put", key, err)
}

// Create writes the row if there is none, else it returns ErrRevision.
func (t *Table) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	revision, err := t.kv.Create(ctx, key, value)
	return revision, t.wrap("create", key, err)
}

// Update writes the row if it is at this revision, else it returns ErrRevision.
func (t *Table) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	revision, err := t.kv.Update(ctx, key, value, revision)
	return revision, t.wrap("update", key, err)
}

// Delete removes the row.
func (t *Table) Delete(ctx context.Context, key string) error {
	return t.wrap("delete", key, t.kv.Delete(ctx, key))
}

// wrongRevision is the server's code for a compare-and-set that failed.
const wrongRevision = 10071

func (t *Table) wrap(verb, key string, err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyNotFound):
		err = ErrNoRow
	case errors.Is(err, jetstream.ErrKeyExists), errors.As(err, &api) && api.ErrorCode == wrongRevision:
		err = ErrRevision
	}
	return fmt.Errorf("queues: %s %s/%s: %w", verb, t.name, key, err)
}

// All returns the rows that there are now.
func (t *Table) All(ctx context.Context) ([]Row, error) {
	var mu sync.Mutex
	var rows []Row
	w, err := t.Watch(ctx, func(r Row) {
		mu.Lock()
		defer mu.Unlock()
		if !r.Deleted {
			rows = append(rows, r)
		}
	})
	if err != nil {
		return nil, err
	}
	w.Stop()
	return rows, nil
}

// Watcher tells of a table's rows.
type Watcher struct {
	watch  jetstream.KeyWatcher
	cancel context.CancelFunc // of what the watch has begun
	ended  chan struct{}
	once   sync.Once
}

// Watch calls handle for every row there is, then returns, and goes on calling it for every change, on
// one goroutine, in the order of revisions. Changes in between may be passed over for the last one.
func (t *Table) Watch(ctx context.Context, handle func(Row)) (*Watcher, error) {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	watch, err := t.kv.WatchAll(base)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("queues: watch %s: %w", t.name, err)
	}
	w := &Watcher{watch: watch, cancel: cancel, ended: make(chan struct{})}
	present := make(chan struct{})
	go w.run(handle, present)
	timeout := time.NewTimer(apiTimeout)
	defer timeout.Stop()
	select {
	case <-present:
		return w, nil
	case <-ctx.Done():
		w.Stop()
		return nil, ctx.Err()
	case <-timeout.C:
		w.Stop()
		return nil, fmt.Errorf("queues: watch %s: no answer in %s", t.name, apiTimeout)
	}
}

func (w *Watcher) run(handle func(Row), present chan struct{}) {
	defer close(w.ended)
	for e := range w.watch.Updates() {
		if e == nil { // all that was there
			close(present)
			continue
		}
		handle(Row{
			Key: e.Key(), Value: e.Value(), Revision: e.Revision(), Written: e.Created(),
			Deleted: e.Operation() != jetstream.KeyValuePut,
		})
	}
}

// Stop ends the watch, and returns when handle is not running and will not run again. It must not be
// called from handle.
func (w *Watcher) Stop() {
	w.once.Do(func() {
		_ = w.watch.Stop()
		w.cancel()
	})
	<-w.ended
}
