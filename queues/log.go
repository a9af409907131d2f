package queues

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/tidemill/tidemill/internal/wait"
)

// Log keeps messages in one order, for any reader from any position, without gaps. Its sequences grow, but are not
// consecutive, since several logs share a stream.
type Log struct {
	b    *Broker
	name LogName
	cfg  jetstream.StreamConfig
}

// LogEntry is a message and its sequence in the stream.
type LogEntry struct {
	Message
	Sequence uint64
}

// OpenLog returns the log. It creates the stream unless it exists. The server discards nothing unless opts say so: if a log
// lost messages before a second reader reads it, that reader could decide differently.
func (b *Broker) OpenLog(ctx context.Context, name LogName, opts ...LogOption) (*Log, error) {
	l := b.LogHandle(name, opts...)
	if err := b.ensureStream(ctx, l.cfg); err != nil {
		return nil, err
	}
	return l, nil
}

// LogHandle returns a log that exists already. It does no I/O, so it may be called under a lock.
func (b *Broker) LogHandle(name LogName, opts ...LogOption) *Log {
	cfg := jetstream.StreamConfig{
		Name: name.Stream, Subjects: []string{name.Binds},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, AllowDirect: true,
	}
	if name.Republish != "" {
		cfg.RePublish = &jetstream.RePublish{Source: name.Binds, Destination: name.RepublishBinds}
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	return &Log{b, name, cfg}
}

// Restore creates the stream of the log again if it is gone: a server may come back with older files, or with none.
func (l *Log) Restore(ctx context.Context) error {
	l.b.forget(l.cfg.Name)
	return l.b.ensureStream(ctx, l.cfg)
}

// The limits of the stream of dead letters.
const (
	deadBytes = 64 << 20
	deadAge   = 7 * 24 * time.Hour
)

// OpenDead returns the log of the dead letters of one class and function.
func (b *Broker) OpenDead(ctx context.Context, class, fn string) (*Log, error) {
	return b.OpenLog(ctx, b.Dead(class, fn), Rolling(deadBytes, deadAge))
}

// LogOption changes the configuration of a log's stream.
type LogOption func(*jetstream.StreamConfig)

// Rolling discards the oldest messages beyond that many bytes, and messages older than age.
func Rolling(bytes int64, age time.Duration) LogOption {
	return func(cfg *jetstream.StreamConfig) {
		cfg.Discard, cfg.MaxBytes, cfg.MaxAge = jetstream.DiscardOld, bytes, age
	}
}

// Send appends a message and returns at once. done is called once, with the message's sequence when it is stored or with the
// error, on a goroutine that it must not block. A send whose answer is lost is repeated, so the log may have a message twice.
func (l *Log) Send(m Message, done func(sequence uint64, err error)) {
	m.Subject = l.name.Subject
	l.b.out.send(m, done)
}

// Append appends messages and returns when all are stored, or with the first error.
func (l *Log) Append(ctx context.Context, messages ...Message) error {
	return publish(ctx, messages, func(m Message, done func(error)) {
		l.Send(m, func(_ uint64, err error) { done(err) })
	})
}

// The bounds of one request of Read, for which the server has no flow control.
const (
	batchBytes    = 4 << 20
	batchMessages = 256
)

// Read yields the entries after the sequence after, in order, up to the end of the log as it is now. It stops at the first
// error, which it yields.
func (l *Log) Read(ctx context.Context, after uint64) iter.Seq2[LogEntry, error] {
	return l.b.read(ctx, l.name.Stream, l.name.Subject, after)
}

// Get returns the entry with that sequence.
func (l *Log) Get(ctx context.Context, sequence uint64) (LogEntry, error) {
	body := fmt.Appendf(nil, `{"seq":%d}`, sequence)
	msg, err := l.b.request(ctx, "$JS.API.DIRECT.GET."+l.name.Stream, body)
	if err != nil {
		return LogEntry{}, fmt.Errorf("queues: get %d of %s: %w", sequence, l.name.Subject, err)
	}
	if subject := msg.Header["Nats-Subject"]; len(subject) == 0 || subject[len(subject)-1] != l.name.Subject {
		return LogEntry{}, fmt.Errorf("queues: get %d of %s: the log has no such entry", sequence, l.name.Subject)
	}
	return LogEntry{fromNATS(msg), sequence}, nil
}

// request sends a request until it has an answer; see retry.
func (b *Broker) request(ctx context.Context, subject string, body []byte) (msg *nats.Msg, err error) {
	err = b.retry(ctx, func(ctx context.Context) error {
		msg, err = b.conn.RequestWithContext(ctx, subject, body)
		return err
	})
	return msg, err
}

// read yields the messages of a subject after a sequence.
func (b *Broker) read(ctx context.Context, stream, subject string, after uint64) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		r := &reader{b: b, stream: stream, subject: subject, after: after}
		for {
			n, more, err := r.batch(ctx, yield)
			switch {
			case err != nil && (!Unanswered(err) || ctx.Err() != nil || n == 0 && r.failures >= maxFailures):
				yield(LogEntry{}, fmt.Errorf("queues: read %s: %w", subject, err))
				return
			case !more:
				return
			case n > 0:
				r.failures = 0
			default:
				r.failures++ // and the missing messages are requested again
			}
		}
	}
}

// reader reads a subject of a stream by batched direct gets. After a failure it requests fewer messages and waits longer: if a
// slow connection takes longer for an answer than the reader waited, the next answer queues behind the rest of that one.
type reader struct {
	b               *Broker
	stream, subject string
	after           uint64 // the sequence read last
	failures        int    // requests in a row that brought no message
}

// maxFailures is after how many requests in a row without a message a reader gives up; answerTimeout bounds one answer.
const (
	maxFailures   = 5
	answerTimeout = time.Minute
)

// batch yields the messages of one request. more is false at the end of the log, and if yield returned false. Each message
// has the sequence of the one before it in the answer, so a lost message shows as a gap.
func (r *reader) batch(ctx context.Context, yield func(LogEntry, error) bool) (n int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	messageTimeout := tryTimeout << r.failures // until the next message
	timer := time.AfterFunc(messageTimeout, cancel)
	defer timer.Stop()
	messages, err := jetstreamext.GetBatch(ctx, r.b.js, r.stream, max(1, batchMessages>>(2*r.failures)),
		jetstreamext.GetBatchSubject(r.subject), jetstreamext.GetBatchSeq(r.after+1), jetstreamext.GetBatchMaxBytes(batchBytes))
	if err != nil {
		return 0, true, err
	}
	before := uint64(0)
	for m, err := range messages {
		timer.Stop()
		switch {
		case errors.Is(err, jetstreamext.ErrNoMessages):
			return n, false, nil
		case errors.Is(err, context.Canceled):
			return n, true, errGap
		case err != nil:
			return n, true, err
		case m.Sequence <= r.after:
			timer.Reset(messageTimeout)
			continue // received twice
		}
		if previous, err := Header(m.Header).number("Nats-Last-Sequence"); err != nil || previous != before {
			return n, true, errGap
		}
		n++
		r.after, before = m.Sequence, m.Sequence
		if !yield(LogEntry{Message{m.Subject, Header(m.Header), m.Data}, m.Sequence}, nil) {
			return n, false, nil
		}
		timer.Reset(messageTimeout)
	}
	if n == 0 {
		return 0, true, errGap // at the end the server sends a status message
	}
	return n, true, nil
}

// errGap says that a part of an answer is missing. It counts as no answer, so that the request is sent again.
var errGap = fmt.Errorf("queues: a part of the answer is missing: %w", nats.ErrTimeout)

// Last returns the sequence of the last message in the log, 0 if it is empty.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	return l.b.last(ctx, l.name.Stream, l.name.Subject)
}

// last returns the sequence of the last message of a subject, 0 if there is none.
func (b *Broker) last(ctx context.Context, stream, subject string) (uint64, error) {
	msg, err := b.request(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	if err != nil {
		return 0, fmt.Errorf("queues: last of %s: %w", subject, err)
	}
	if len(msg.Header["Nats-Sequence"]) == 0 && notFound(msg) {
		return 0, nil
	}
	sequence, err := Header(msg.Header).number("Nats-Sequence")
	if err != nil {
		return 0, fmt.Errorf("queues: last of %s: answer without a sequence", subject)
	}
	return sequence, nil
}

// lastOf returns the sequence of the last message in a stream, 0 if there is none.
func (b *Broker) lastOf(ctx context.Context, stream string) (uint64, error) {
	msg, err := b.request(ctx, "$JS.API.DIRECT.GET."+stream, []byte(`{"last_by_subj":">"}`))
	if err != nil {
		return 0, fmt.Errorf("queues: last of %s: %w", stream, err)
	}
	if len(msg.Header["Nats-Sequence"]) == 0 && notFound(msg) {
		return 0, nil
	}
	return Header(msg.Header).number("Nats-Sequence")
}

// Stream identifies the stream of a log. Another creation time means another stream, with sequences of its own. While the
// stream is the same, its last sequence only grows.
type Stream struct {
	Created time.Time
	Last    uint64 // the last sequence of all logs in it, including removed messages; 0 = it never had one
}

// Stream returns the state of the stream of the log.
func (l *Log) Stream(ctx context.Context) (s Stream, err error) {
	err = l.b.retry(ctx, func(ctx context.Context) error {
		stream, err := l.b.js.Stream(ctx, l.name.Stream)
		if err == nil {
			info := stream.CachedInfo()
			s = Stream{info.Created, info.State.LastSeq}
		}
		return err
	})
	if err != nil {
		return s, fmt.Errorf("queues: get the state of stream %s: %w", l.name.Stream, err)
	}
	return s, nil
}

// Trim removes the entries up to and including this sequence. Nobody may be reading them.
func (l *Log) Trim(ctx context.Context, upTo uint64) error {
	stream, err := l.b.js.Stream(ctx, l.name.Stream)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(l.name.Subject), jetstream.WithPurgeSequence(upTo+1))
	}
	if err != nil {
		return fmt.Errorf("queues: trim %s: %w", l.name.Subject, err)
	}
	return nil
}

// Purge removes all entries of the log.
func (l *Log) Purge(ctx context.Context) error {
	stream, err := l.b.js.Stream(ctx, l.name.Stream)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(l.name.Subject))
	}
	if err != nil {
		return fmt.Errorf("queues: purge %s: %w", l.name.Subject, err)
	}
	return nil
}

// Follower reads a log as it grows. The server republishes each message once it is stored, with the sequence of the message
// before it in this log, so a gap shows at once, and is filled by reading. A republished message may be lost: a caller who
// expects an entry and gets none calls Ask.
type Follower struct {
	log         *Log
	handle      func(LogEntry)
	republished *Listener

	reading wait.Lock     // held while entries are read and handled, over I/O, so that no entry overtakes those that fill a gap
	last    atomic.Uint64 // the sequence handled last; written under reading
}

// Follow calls handle for each entry after the sequence after, in order, once each, on one goroutine at a time. Before it
// returns, it handles the entries that the log already has.
func (l *Log) Follow(ctx context.Context, after uint64, handle func(LogEntry)) (*Follower, error) {
	f := &Follower{log: l, handle: handle, reading: wait.NewLock()}
	f.last.Store(after)
	var err error
	if f.republished, err = l.b.Topic(l.name.Republish).Listen(f.receive); err != nil {
		return nil, fmt.Errorf("queues: follow %s: %w", l.name.Subject, err)
	}
	if err := f.Ask(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// receive handles a republished message, and reads the entries before it that were missed.
func (f *Follower) receive(m Message) {
	sequence, err1 := m.Header.number("Nats-Sequence")
	previous, err2 := m.Header.number("Nats-Last-Sequence")
	if err1 != nil || err2 != nil {
		return // not from the server
	}
	f.reading.Lock()
	defer f.reading.Unlock()
	if sequence <= f.last.Load() {
		return
	}
	if previous > f.last.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
		err := f.fillLocked(ctx)
		cancel()
		if err != nil {
			f.log.b.log.Warn("queues: fill a gap in a log; trying again later", "log", f.log.name.Subject, "err", err)
		}
		if last := f.last.Load(); sequence <= last || previous > last {
			return // it was read with the gap; or reading failed, and a later message or Ask tries again
		}
	}
	f.last.Store(sequence)
	m.Subject = f.log.name.Subject
	f.handle(LogEntry{m, sequence})
}

// fillLocked reads and handles the entries after the last one handled. The caller holds reading.
func (f *Follower) fillLocked(ctx context.Context) error {
	for e, err := range f.log.Read(ctx, f.last.Load()) {
		if err != nil {
			return err
		}
		f.last.Store(e.Sequence)
		f.handle(e)
	}
	return nil
}

// Ask asks the server for the last sequence of the log, and handles the entries that were missed.
func (f *Follower) Ask(ctx context.Context) error {
	last, err := f.log.Last(ctx)
	if err != nil {
		return err
	}
	if err := f.reading.LockContext(ctx); err != nil {
		return err
	}
	defer f.reading.Unlock()
	if last > f.last.Load() {
		return f.fillLocked(ctx)
	}
	return nil
}

// Last returns the sequence of the entry handled last.
func (f *Follower) Last() uint64 { return f.last.Load() }

// Close stops the follower. A call of handle may still be running.
func (f *Follower) Close() { f.republished.Close() }
