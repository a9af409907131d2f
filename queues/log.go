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

// Log keeps messages in one order, for any reader from any position, without gap. Its sequences grow but
// are not dense: several logs share a stream.
type Log struct {
	b    *Broker
	name LogName
	cfg  jetstream.StreamConfig
}

// LogEntry is a message and its place in the log.
type LogEntry struct {
	Message
	Sequence uint64
}

// OpenLog returns the log, which it makes if there is none yet. Nothing is discarded and nothing ages
// unless opts say so: a log that is cut under a second reader can change what it decided.
func (b *Broker) OpenLog(ctx context.Context, name LogName, opts ...LogOption) (*Log, error) {
	l := b.LogHandle(name, opts...)
	if err := b.ensureStream(ctx, l.cfg); err != nil {
		return nil, err
	}
	return l, nil
}

// LogHandle returns a log that somebody has opened before, without asking anybody: it may be called under a lock.
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

// Restore makes the stream of the log if it is gone: a server may come back with older files, or none.
func (l *Log) Restore(ctx context.Context) error {
	l.b.forget(l.cfg.Name)
	return l.b.ensureStream(ctx, l.cfg)
}

// What is kept of dead letters.
const (
	deadBytes = 64 << 20
	deadAge   = 7 * 24 * time.Hour
)

// OpenDead returns the log of the dead letters of one class and function.
func (b *Broker) OpenDead(ctx context.Context, class, fn string) (*Log, error) {
	return b.OpenLog(ctx, b.Dead(class, fn), Rolling(deadBytes, deadAge))
}

// LogOption changes how a log is kept.
type LogOption func(*jetstream.StreamConfig)

// Rolling keeps the newest messages alone: so many bytes of them, and none older than age.
func Rolling(bytes int64, age time.Duration) LogOption {
	return func(cfg *jetstream.StreamConfig) {
		cfg.Discard, cfg.MaxBytes, cfg.MaxAge = jetstream.DiscardOld, bytes, age
	}
}

// Send appends a message and returns at once; done is called once, with its sequence when it is stored,
// or with the refusal, on a goroutine that it must not block. A send whose answer is lost is repeated, so
// a message may stand in the log twice.
func (l *Log) Send(m Message, done func(sequence uint64, err error)) {
	m.Subject = l.name.Subject
	l.b.out.send(m, done)
}

// Append appends messages and returns when all are stored.
func (l *Log) Append(ctx context.Context, messages ...Message) error {
	return publish(ctx, messages, func(m Message, done func(error)) {
		l.Send(m, func(_ uint64, err error) { done(err) })
	})
}

// readAhead bounds the bytes that one request of Read brings: the server has no flow control there.
const readAhead = 4 << 20

// readAtOnce is how many messages one request of Read brings at most.
const readAtOnce = 256

// Read yields what stands in the log behind the sequence after, in order, up to its end now. An error
// ends it.
func (l *Log) Read(ctx context.Context, after uint64) iter.Seq2[LogEntry, error] {
	return l.b.read(ctx, l.name.Stream, l.name.Subject, after)
}

// Get returns the message of that sequence.
func (l *Log) Get(ctx context.Context, sequence uint64) (LogEntry, error) {
	body := fmt.Appendf(nil, `{"seq":%d}`, sequence)
	msg, err := l.b.request(ctx, "$JS.API.DIRECT.GET."+l.name.Stream, body)
	if err != nil {
		return LogEntry{}, fmt.Errorf("queues: get %d of %s: %w", sequence, l.name.Subject, err)
	}
	if subject := msg.Header["Nats-Subject"]; len(subject) == 0 || subject[len(subject)-1] != l.name.Subject {
		return LogEntry{}, fmt.Errorf("queues: get %d of %s: it is not there", sequence, l.name.Subject)
	}
	return LogEntry{fromNATS(msg), sequence}, nil
}

// request asks until there is an answer.
func (b *Broker) request(ctx context.Context, subject string, body []byte) (msg *nats.Msg, err error) {
	err = b.retry(ctx, func(ctx context.Context) error {
		msg, err = b.conn.RequestWithContext(ctx, subject, body)
		return err
	})
	return msg, err
}

func (b *Broker) read(ctx context.Context, stream, subject string, after uint64) iter.Seq2[LogEntry, error] {
	return func(yield func(LogEntry, error) bool) {
		r := &reading{b: b, stream: stream, subject: subject, after: after}
		for {
			n, more, err := r.some(ctx, yield)
			switch {
			case err != nil && (!Unanswered(err) || ctx.Err() != nil || n == 0 && r.failures >= mostFailures):
				yield(LogEntry{}, fmt.Errorf("queues: read %s: %w", subject, err))
				return
			case !more:
				return
			case n > 0:
				r.failures = 0
			default:
				r.failures++ // what is missing is asked for again
			}
		}
	}
}

// reading is somebody's way through a stream. After a failure it asks for less and waits for longer: where a
// slow connection takes longer for an answer than it was waited for, the next answer comes behind the rest of
// that one.
type reading struct {
	b               *Broker
	stream, subject string
	after           uint64 // the sequence read last
	failures        int    // in a row: nothing came
}

// How often in a row a reader asks without an answer, and how long one answer may take.
const (
	mostFailures  = 5
	longestAnswer = time.Minute
)

// some yields the next messages. more is false at the end, and if the loop was broken. Each message says which
// one stood before it in the answer, so that one that got lost is missed.
func (r *reading) some(ctx context.Context, yield func(LogEntry, error) bool) (n int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, longestAnswer)
	defer cancel()
	quiet := tryTimeout << r.failures
	silence := time.AfterFunc(quiet, cancel)
	defer silence.Stop()
	messages, err := jetstreamext.GetBatch(ctx, r.b.js, r.stream, max(1, readAtOnce>>(2*r.failures)),
		jetstreamext.GetBatchSubject(r.subject), jetstreamext.GetBatchSeq(r.after+1), jetstreamext.GetBatchMaxBytes(readAhead))
	if err != nil {
		return 0, true, err
	}
	before := uint64(0)
	for m, err := range messages {
		silence.Stop()
		switch {
		case errors.Is(err, jetstreamext.ErrNoMessages):
			return n, false, nil
		case errors.Is(err, context.Canceled):
			return n, true, errGap
		case err != nil:
			return n, true, err
		case m.Sequence <= r.after:
			silence.Reset(quiet)
			continue // it came twice
		}
		if previous, err := Header(m.Header).number("Nats-Last-Sequence"); err != nil || previous != before {
			return n, true, errGap
		}
		n++
		r.after, before = m.Sequence, m.Sequence
		if !yield(LogEntry{Message{m.Subject, Header(m.Header), m.Data}, m.Sequence}, nil) {
			return n, false, nil
		}
		silence.Reset(quiet)
	}
	if n == 0 {
		return 0, true, errGap // the end is told in words
	}
	return n, true, nil
}

// errGap says that a part of an answer is missing.
var errGap = fmt.Errorf("queues: a part of the answer is missing: %w", nats.ErrTimeout)

// Last returns the sequence of the last message in the log, 0 if it is empty.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	return l.b.last(ctx, l.name.Stream, l.name.Subject)
}

func (b *Broker) last(ctx context.Context, stream, subject string) (uint64, error) {
	msg, err := b.request(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	if err != nil {
		return 0, fmt.Errorf("queues: last of %s: %w", subject, err)
	}
	if len(msg.Header["Nats-Sequence"]) == 0 && msg.Header.Get("Status") == "404" {
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
	if len(msg.Header["Nats-Sequence"]) == 0 && msg.Header.Get("Status") == "404" {
		return 0, nil
	}
	return Header(msg.Header).number("Nats-Sequence")
}

// Stream says which stream it is: another time of making means another stream, with sequences of its own.
// Its last sequence grows for as long as it is the same.
type Stream struct {
	Created time.Time
	Last    uint64 // of all logs in it, whatever was removed since; 0 = it never had a message
}

// Stream returns what the stream of the log is now.
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
		return s, fmt.Errorf("queues: look at %s: %w", l.name.Stream, err)
	}
	return s, nil
}

// Trim removes what stands in the log up to and with this sequence. Nobody else may be reading there.
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

// Purge removes all that stands in the log.
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

// Follower reads a log as it grows. Each message is told once it is stored, with the sequence of the one
// before it in this log: so a gap shows at once, and is filled by reading. What is told may get lost, so
// a reader that expects something and hears nothing calls Ask.
type Follower struct {
	log    *Log
	handle func(LogEntry)
	told   *Listener

	reading wait.Lock     // held while messages are handled, over I/O: nothing may overtake the filling of a gap
	last    atomic.Uint64 // the sequence handled last; changed by who reads
}

// Follow calls handle for every message behind the sequence after, in order, each once, on one goroutine
// at a time. It returns when it listens; what stands in the log already is handled before.
func (l *Log) Follow(ctx context.Context, after uint64, handle func(LogEntry)) (*Follower, error) {
	f := &Follower{log: l, handle: handle, reading: wait.NewLock()}
	f.last.Store(after)
	var err error
	if f.told, err = l.b.Topic(l.name.Republish).Listen(f.hear); err != nil {
		return nil, fmt.Errorf("queues: follow %s: %w", l.name.Subject, err)
	}
	if err := f.Ask(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *Follower) hear(m Message) {
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
		err := f.fill(ctx)
		cancel()
		if err != nil {
			f.log.b.log.Warn("queues: follow", "err", err)
		}
		if last := f.last.Load(); sequence <= last || previous > last {
			return // read with the rest; or not to be read now, and Ask tries again
		}
	}
	f.last.Store(sequence)
	m.Subject = f.log.name.Subject
	f.handle(LogEntry{m, sequence})
}

// fill handles what stands in the log behind what was handled last. The caller reads.
func (f *Follower) fill(ctx context.Context) error {
	for e, err := range f.log.Read(ctx, f.last.Load()) {
		if err != nil {
			return err
		}
		f.last.Store(e.Sequence)
		f.handle(e)
	}
	return nil
}

// Ask asks the server for the log's last message, and handles what was missed.
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
		return f.fill(ctx)
	}
	return nil
}

// Last returns the sequence of the message handled last.
func (f *Follower) Last() uint64 { return f.last.Load() }

// Close ends the following. A call of handle may still be under way.
func (f *Follower) Close() { f.told.Close() }
