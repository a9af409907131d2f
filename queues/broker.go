package queues

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	_ "github.com/tidemill/tidemill/internal/platform" // refuses 32-bit platforms
)

// Message is a message as it is sent and received. It must not be changed once it was sent or received.
type Message struct {
	Subject string
	Header  Header // nil if there are no headers
	Data    []byte
}

// Header holds a message's headers. Names are case-sensitive: Tm-Owner is not tm-owner.
type Header map[string][]string

// Get returns the first value of a header, "" if there is none.
func (h Header) Get(name string) string { return nats.Header(h).Get(name) }

// number returns the last value of a header that the server adds: it comes after those that the sender set.
func (h Header) number(name string) (uint64, error) {
	values := h[name]
	if len(values) == 0 {
		return 0, fmt.Errorf("queues: no header %s", name)
	}
	return strconv.ParseUint(values[len(values)-1], 10, 64)
}

// Storage says where streams are stored.
type Storage int

// Streams in memory are gone when the server ends; streams in files survive it.
const (
	Memory Storage = iota
	Files
)

// Dialer connects to a server in this process (embedded.Server is one).
type Dialer interface {
	InProcessConn() (net.Conn, error)
}

// Config says how to connect.
type Config struct {
	Namespace string       // the first token of every name
	Client    string       // the name that the server lists for the connection
	URL       string       // of the server; ignored if Dialer is set
	Dialer    Dialer       // the server in this process; nil = connect to URL
	Storage   Storage      // of the streams that this broker creates
	Replicas  int          // of the stream of blocks that this broker creates; 0 = 1
	Logger    *slog.Logger // nil = slog.Default()
}

// Broker is one connection to a NATS server, from which queues, logs, tables, topics and blocks are opened. It is safe for
// concurrent use.
type Broker struct {
	Names

	cfg  Config
	conn *nats.Conn
	js   jetstream.JetStream
	out  *publisher
	log  *slog.Logger

	reconnects atomic.Uint64

	mu     sync.Mutex
	opened map[string]bool // guarded by mu; the streams and consumers that this broker has created or found

	closing sync.Once
	closed  chan struct{} // closed by Close
}

// ErrClosed says that the broker was closed before an answer came: the message may be stored or not.
var ErrClosed = errors.New("queues: broker closed")

// apiTimeout bounds one request to the server's API, with its repetitions. A cluster that lost its leader does not answer for
// 6 to 9 s.
const apiTimeout = 10 * time.Second

// Connect connects to the server. If the connection is lost later, the broker reconnects until it is closed, and then sends
// what it could not send meanwhile.
func Connect(cfg Config) (*Broker, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	closed := make(chan struct{})
	b := &Broker{
		Names: Names{cfg.Namespace}, cfg: cfg, log: Quiet(cfg.Logger, closed), opened: map[string]bool{}, closed: closed,
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	opts := []nats.Option{
		nats.Name(cfg.Client), nats.MaxReconnects(-1), nats.Timeout(apiTimeout),
		nats.ErrorHandler(b.report), nats.DisconnectErrHandler(b.disconnected), nats.ReconnectHandler(b.reconnected),
	}
	if cfg.Dialer != nil {
		opts = append(opts, nats.InProcessServer(cfg.Dialer))
	}
	var err error
	if b.conn, err = nats.Connect(cfg.URL, opts...); err != nil {
		return nil, fmt.Errorf("queues: connect: %w", err)
	}
	if b.js, err = jetstream.New(b.conn, jetstream.WithDefaultTimeout(apiTimeout)); err == nil {
		b.out, err = newPublisher(b.conn)
	}
	if err != nil {
		b.conn.Close()
		return nil, fmt.Errorf("queues: connect: %w", err)
	}
	return b, nil
}

// Close closes the connection. Sends without an answer end with ErrClosed. Calling it again does nothing.
func (b *Broker) Close() {
	b.closing.Do(func() {
		close(b.closed)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = b.conn.FlushWithContext(ctx) // acks have no answer to wait for. (FlushTimeout shares timers between synctest bubbles.)
		cancel()
		b.out.close()
		b.conn.Close()
	})
}

// MaxPayload returns the maximum size of a message in bytes, headers included.
func (b *Broker) MaxPayload() int { return int(b.conn.MaxPayload()) }

// report logs an asynchronous error of the connection.
func (b *Broker) report(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.log.Warn("nats: an asynchronous error of the connection", "subject", subject, "err", err)
}

func (b *Broker) disconnected(_ *nats.Conn, err error) {
	if err != nil {
		b.log.Warn("nats: connection lost, reconnecting", "err", err)
	}
}

func (b *Broker) reconnected(*nats.Conn) {
	b.reconnects.Add(1)
	b.log.Info("nats: reconnected")
}

// Reconnects returns how often the broker has reconnected. Each time the server may be another one, or the same one with older
// files.
func (b *Broker) Reconnects() uint64 { return b.reconnects.Load() }

// once calls create unless it has succeeded for this name before. Two concurrent calls may both call it.
func (b *Broker) once(name string, create func() error) error {
	b.mu.Lock()
	done := b.opened[name]
	b.mu.Unlock()
	if done {
		return nil
	}
	if err := create(); err != nil {
		return err
	}
	b.mu.Lock()
	b.opened[name] = true
	b.mu.Unlock()
	return nil
}

// forget makes the next open of these names create them again.
func (b *Broker) forget(names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		delete(b.opened, name)
	}
}

// A request without an answer within tryTimeout is sent again, retryDelay later: the request or its answer may be lost.
const (
	tryTimeout = 2 * time.Second
	retryDelay = 50 * time.Millisecond
)

// retry calls request until it has an answer, ctx ends, or apiTimeout has passed. The request must be idempotent.
func (b *Broker) retry(ctx context.Context, request func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	for {
		try, end := context.WithTimeout(ctx, tryTimeout)
		err := request(try)
		end()
		if err == nil || !Unanswered(err) || b.conn.IsClosed() {
			return err
		}
		timer := time.NewTimer(retryDelay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// Unanswered reports whether an error only says that no answer came, so that a repeated request may get one.
func Unanswered(err error) bool {
	for _, e := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		jetstream.ErrNoStreamResponse, jetstream.ErrJetStreamNotEnabled,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// ensureStream creates the stream, or updates it to this configuration, once for each broker.
func (b *Broker) ensureStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	if b.cfg.Storage == Memory {
		cfg.Storage = jetstream.MemoryStorage
	}
	return b.once(cfg.Name, func() error {
		err := b.retry(ctx, func(ctx context.Context) error {
			_, err := b.js.CreateOrUpdateStream(ctx, cfg)
			return err
		})
		if err != nil {
			return fmt.Errorf("queues: create stream %s: %w", cfg.Name, err)
		}
		return nil
	})
}

func (m Message) nats(reply string) *nats.Msg {
	return &nats.Msg{Subject: m.Subject, Reply: reply, Header: nats.Header(m.Header), Data: m.Data}
}

func fromNATS(msg *nats.Msg) Message { return Message{msg.Subject, Header(msg.Header), msg.Data} }

// notFound reports whether a direct get found no message.
func notFound(msg *nats.Msg) bool { return msg.Header.Get("Status") == "404" }
