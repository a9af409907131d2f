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

// Watcher tells of a table's rows. The server tells of each row once it is stored, and rows are numbered
// without a gap, so what got lost on the way is noticed by the next one, or when the watcher asks. (The
// client library's watcher waits for the server under a lock, which would stop virtual time.)
type Watcher struct {
	t      *Table
	handle func(Row)
	told   *Listener

	reading   wait.Lock    // held while rows are handled, over I/O: nothing may overtake the filling of a gap
	last      uint64       // guarded by reading; the revision handled last
	confirmed atomic.Int64 // when the watcher knew all rows, in nanoseconds since begun
	begun     time.Time

	cancel context.CancelFunc
	ended  chan struct{}
	once   sync.Once
}

// askEvery is how often a watcher asks whether it knows all rows.
const askEvery = 2 * time.Second

// Watch calls handle for every row there is, then returns, and goes on calling it for every change, one
// call at a time, in the order of revisions. Changes in between may be passed over for the last one.
func (t *Table) Watch(ctx context.Context, handle func(Row)) (*Watcher, error) {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Watcher{t: t, handle: handle, reading: wait.NewLock(), begun: time.Now(), cancel: cancel, ended: make(chan struct{})}
	var err error
	if w.told, err = t.b.Topic(t.b.rows(t.name) + ".>").Listen(w.hear); err == nil {
		err = w.ask(ctx)
	}
	if err != nil {
		close(w.ended)
		w.Stop()
		return nil, fmt.Errorf("queues: watch %s: %w", t.name, err)
	}
	go w.run(base)
	return w, nil
}

func (w *Watcher) run(ctx context.Context) {
	defer close(w.ended)
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := w.ask(ctx); err != nil && ctx.Err() == nil {
			w.t.b.log.Warn("queues: watch", "table", w.t.name, "err", err)
		}
	}
}

// hear takes what is told of one row.
func (w *Watcher) hear(m Message) {
	sequence, err := m.Header.number("Nats-Sequence")
	if err != nil {
		return // not from the server
	}
	w.reading.Lock()
	defer w.reading.Unlock()
	switch {
	case sequence <= w.last:
	case sequence == w.last+1:
		w.take(LogEntry{m, sequence})
	default:
		ctx, cancel := context.WithTimeout(context.Background(), tryTimeout)
		defer cancel()
		if err := w.fill(ctx); err != nil {
			w.t.b.log.Warn("queues: watch", "table", w.t.name, "err", err) // asking fills it
		}
	}
}

// take handles a row as it came. The caller reads.
func (w *Watcher) take(e LogEntry) {
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
		row.Written, _ = time.Parse(time.RFC3339Nano, stamps[len(stamps)-1]) // zero then
	}
	w.handle(row)
}

// fill handles all rows behind the last one. The caller reads.
func (w *Watcher) fill(ctx context.Context) error {
	for e, err := range w.t.b.read(ctx, w.t.stream(), w.t.subject(">"), w.last) {
		if err != nil {
			return err
		}
		w.take(e)
	}
	return nil
}

// ask handles what was missed. Of a table that has gone back (its server came back with older files) it
// handles all rows anew.
func (w *Watcher) ask(ctx context.Context) error {
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
		err = w.fill(ctx)
	}
	if err == nil {
		w.last = max(w.last, last) // rows may have vanished by age
		w.confirmed.Store(int64(asked))
	}
	return err
}

// Confirmed returns when the watcher has known all rows for sure.
func (w *Watcher) Confirmed() time.Time { return w.begun.Add(time.Duration(w.confirmed.Load())) }

// Stop ends the watch. A call of handle may still be under way.
func (w *Watcher) Stop() {
	w.once.Do(func() {
		w.cancel()
		if w.told != nil {
			w.told.Close()
		}
	})
	<-w.ended
}

// All returns the rows that there are now.
func (t *Table) All(ctx context.Context) ([]Row, error) {
	var rows []Row
	w := &Watcher{t: t, handle: func(r Row) {
		if !r.Deleted {
			rows = append(rows, r)
		}
	}}
	if err := w.fill(ctx); err != nil {
		return nil, fmt.Errorf("queues: all of %s: %w", t.name, err)
	}
	return rows, nil
}

func (t *Table) stream() string { return "KV_" + string(t.name) }

func (t *Table) subject(key string) string { return "$KV." + string(t.name) + "." + key }
