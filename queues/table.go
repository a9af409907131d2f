package queues

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Table keeps the last message of each key, with a revision for compare-and-set. It is a key-value bucket that any NATS client
// can read.
type Table struct {
	b    *Broker
	name TableName
	kv   jetstream.KeyValue
}

// Row is the last message of a key. A deleted row has no value.
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
	ErrRevision = errors.New("queues: the row has another revision")
)

// TableOption changes the configuration of a table.
type TableOption func(*jetstream.KeyValueConfig)

// Aging removes rows that are older than age.
func Aging(age time.Duration) TableOption {
	return func(cfg *jetstream.KeyValueConfig) { cfg.TTL = age }
}

// OpenTable returns the table. It creates the bucket unless it exists.
func (b *Broker) OpenTable(ctx context.Context, name TableName, opts ...TableOption) (*Table, error) {
	cfg := jetstream.KeyValueConfig{
		Bucket:    string(name),
		RePublish: &jetstream.RePublish{Source: ">", Destination: string(b.rows(name)) + ".>"},
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	if b.cfg.Storage == Memory {
		cfg.Storage = jetstream.MemoryStorage
	}
	var kv jetstream.KeyValue
	err := b.retry(ctx, func(ctx context.Context) (err error) {
		kv, err = b.js.CreateOrUpdateKeyValue(ctx, cfg)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("queues: open table %s: %w", name, err)
	}
	return &Table{b, name, kv}, nil
}

// Get returns the row, or ErrNoRow.
func (t *Table) Get(ctx context.Context, key string) (row Row, err error) {
	err = t.b.retry(ctx, func(ctx context.Context) error {
		e, err := t.kv.Get(ctx, key)
		if err == nil {
			row = Row{Key: key, Value: e.Value(), Revision: e.Revision(), Written: e.Created()}
		}
		return err
	})
	return row, t.wrap("get", key, err)
}

// Put writes the row, whatever its revision, and returns the new revision.
func (t *Table) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	err = t.b.retry(ctx, func(ctx context.Context) error {
		revision, err = t.kv.Put(ctx, key, value)
		return err
	})
	return revision, t.wrap("put", key, err)
}

// Create writes the row if the key has none, otherwise it returns ErrRevision. Update says what repetition means.
func (t *Table) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return t.compareAndSet(ctx, "create", key, value, func(ctx context.Context) (uint64, error) { return t.kv.Create(ctx, key, value) })
}

// Update writes the row if it has this revision, otherwise it returns ErrRevision. A request without an answer is repeated,
// and may have been executed: if the repetition finds the row changed to this value, Update counts it as its own write.
// So those who compete for a row must write different values.
func (t *Table) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return t.compareAndSet(ctx, "update", key, value, func(ctx context.Context) (uint64, error) {
		return t.kv.Update(ctx, key, value, revision)
	})
}

func (t *Table) compareAndSet(
	ctx context.Context, verb, key string, value []byte, set func(ctx context.Context) (uint64, error),
) (revision uint64, err error) {
	tries := 0
	err = t.b.retry(ctx, func(ctx context.Context) error {
		tries++
		revision, err = set(ctx)
		return err
	})
	err = t.wrap(verb, key, err)
	if tries > 1 && errors.Is(err, ErrRevision) {
		if row, err := t.Get(ctx, key); err == nil && bytes.Equal(row.Value, value) {
			return row.Revision, nil
		}
	}
	return revision, err
}

// Delete deletes the row.
func (t *Table) Delete(ctx context.Context, key string) error {
	err := t.b.retry(ctx, func(ctx context.Context) error { return t.kv.Delete(ctx, key) })
	return t.wrap("delete", key, err)
}

// wrongRevision is the server's error code for a failed compare-and-set.
const wrongRevision = 10071

// wrap adds what was done to which row, and replaces errors of the client library by those of this package.
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
