package queues

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/internal/wait"
)

// Watcher follows the changes of a table. The server republishes each row once it is stored. The revisions of a table are
// consecutive, so a lost row is noticed at the next one, or when the watcher asks for the last revision, every two seconds.
// (The client library's watcher waits for the server under a mutex, and so would stop virtual time.)
type Watcher struct {
	t           *Table
	handle      func(Row)
	republished *Listener

	reading   wait.Lock    // held while rows are read and handled, over I/O, so that no row overtakes those that fill a gap
	last      uint64       // guarded by reading; the revision handled last
	confirmed atomic.Int64 // when the watcher last knew all rows, in nanoseconds since begun
	begun     time.Time

	cancel context.CancelFunc // of run
	ended  chan struct{}      // closed when run has returned
	once   sync.Once
}

// refreshEvery is how often a watcher asks whether it knows all rows.
const refreshEvery = 2 * time.Second

// Watch calls handle for each existing row before it returns, and then for each change, one call at a time, in the order of
// revisions. Of several changes of a row handle may get only the last.
func (t *Table) Watch(ctx context.Context, handle func(Row)) (*Watcher, error) {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Watcher{t: t, handle: handle, reading: wait.NewLock(), begun: time.Now(), cancel: cancel, ended: make(chan struct{})}
	var err error
	if w.republished, err = t.b.Topic(t.b.rows(t.name) + ".>").Listen(w.receive); err == nil {
		err = w.refresh(ctx)
	}
	if err != nil {
		close(w.ended)
		w.Stop()
		return nil, fmt.Errorf("queues: watch %s: %w", t.name, err)
	}
	go w.run(base)
	return w, nil
}

// run asks for missed rows until Stop.
func (w *Watcher) run(ctx context.Context) {
	defer close(w.ended)
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := w.refresh(ctx); err != nil && ctx.Err() == nil {
			w.t.b.log.Warn("queues: ask for the last revision of a table; trying again later", "table", w.t.name, "err", err)
		}
	}
}

// receive handles a republished row, and reads the rows before it that were missed.
func (w *Watcher) receive(m Message) {
	sequence, err := m.Header.number("Nats-Sequence")
	if err != nil {
		return // not from the server
	}
	w.reading.Lock()
	defer w.reading.Unlock()
	switch {
	case sequence <= w.last:
	case sequence == w.last+1:
		w.handleRow(LogEntry{m, sequence})
	default:
		ctx, cancel := context.WithTimeout(context.Background(), tryTimeout)
		defer cancel()
		if err := w.fillLocked(ctx); err != nil {
			w.t.b.log.Warn("queues: read missed rows of a table; trying again later", "table", w.t.name, "err", err)
		}
	}
}

// handleRow decodes and handles one row. The caller holds reading.
func (w *Watcher) handleRow(e LogEntry) {
	w.last = e.Sequence
	subject := e.Subject
	if stored := e.Header["Nats-Subject"]; len(stored) > 0 {
		subject = stored[len(stored)-1]
	}
	key, ok := strings.CutPrefix(subject, w.t.subject(""))
	if !ok {
		return
	}
	row := Row{Key: key, Value: e.Data, Revision: e.Sequence, Deleted: e.Header.Get("KV-Operation") != ""}
	if stamps := e.Header["Nats-Time-Stamp"]; len(stamps) > 0 {
		row.Written, _ = time.Parse(time.RFC3339Nano, stamps[len(stamps)-1]) // zero if it is malformed
	}
	w.handle(row)
}

// fillLocked reads and handles all rows after the last one handled. The caller holds reading.
func (w *Watcher) fillLocked(ctx context.Context) error {
	for e, err := range w.t.b.read(ctx, w.t.stream(), w.t.subject(">"), w.last) {
		if err != nil {
			return err
		}
		w.handleRow(e)
	}
	return nil
}

// refresh handles the rows that were missed. If the table's last revision is lower than before, since the server came back
// with older files, it handles all rows again.
func (w *Watcher) refresh(ctx context.Context) error {
	asked := time.Since(w.begun)
	if err := w.reading.LockContext(ctx); err != nil {
		return err
	}
	known := w.last
	w.reading.Unlock()
	last, err := w.t.b.lastOf(ctx, w.t.stream())
	if err != nil {
		return err
	}
	if err := w.reading.LockContext(ctx); err != nil {
		return err
	}
	defer w.reading.Unlock()
	if 0 < last && last < known {
		w.last = 0
	}
	if last > w.last {
		err = w.fillLocked(ctx)
	}
	if err == nil {
		w.last = max(w.last, last) // the last row may have expired since
		w.confirmed.Store(int64(asked))
	}
	return err
}

// Confirmed returns the time up to which the watcher knows all changes.
func (w *Watcher) Confirmed() time.Time { return w.begun.Add(time.Duration(w.confirmed.Load())) }

// Stop stops the watcher. A call of handle may still be running.
func (w *Watcher) Stop() {
	w.once.Do(func() {
		w.cancel()
		if w.republished != nil {
			w.republished.Close()
		}
	})
	<-w.ended
}

// All returns the rows of the table, without deleted ones.
func (t *Table) All(ctx context.Context) ([]Row, error) {
	var rows []Row
	w := &Watcher{t: t, handle: func(r Row) {
		if !r.Deleted {
			rows = append(rows, r)
		}
	}}
	if err := w.fillLocked(ctx); err != nil {
		return nil, fmt.Errorf("queues: read all rows of %s: %w", t.name, err)
	}
	return rows, nil
}

func (t *Table) stream() string { return "KV_" + string(t.name) }

func (t *Table) subject(key string) string { return "$KV." + string(t.name) + "." + key }
