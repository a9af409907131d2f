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
)

// Message is what carriers carry. It must not be changed once it was sent, and what was received is
// shared by all who hold it.
type Message struct {
	Subject string
	Header  Header // nil if there is none
	Data    []byte
}

// Header holds a message's headers. Their names are as they were sent: Tm-Owner is not tm-owner.
type Header map[string][]string

// Get returns the header's value, the first one of several, "" if there is none.
func (h Header) Get(name string) string { return nats.Header(h).Get(name) }

// number returns the last value of a header that the server adds: it stands behind what the message
// brought itself.
func (h Header) number(name string) (uint64, error) {
	values := h[name]
	if len(values) == 0 {
		return 0, fmt.Errorf("queues: no header %s", name)
	}
	return strconv.ParseUint(values[len(values)-1], 10, 64)
}

// Storage says where streams are kept.
type Storage int

// Memory is gone when the server ends; Files survive it.
const (
	Memory Storage = iota
	Files
)

// Dialer makes connections to a server in this process (embedded.Server is one).
type Dialer interface {
	InProcessConn() (net.Conn, error)
}

// Config says how to connect.
type Config struct {
	Namespace string       // the first token of every name
	Client    string       // the connection's name, for people who list connections
	URL       string       // of a server; ignored if Dialer is set
	Dialer    Dialer       // a server in this process; nil to dial URL
	Storage   Storage      // of streams that this broker creates
	Replicas  int          // of blocks that this broker creates; 0 = 1
	Logger    *slog.Logger // nil = slog.Default()
}

// Broker is one connection to a NATS server, and the carriers that go over it. It is safe for concurrent
// use.
type Broker struct {
	Names

	cfg  Config
	conn *nats.Conn
	js   jetstream.JetStream
	out  *publisher
	log  *slog.Logger

	connects atomic.Uint64 // how often a lost connection was made again

	mu     sync.Mutex
	opened map[string]bool // guarded by mu; streams and consumers that exist for sure

	closing sync.Once
}

// ErrClosed says that the broker was closed before the answer came: what was sent may be stored or not.
var ErrClosed = errors.New("queues: broker closed")

// apiTimeout bounds one request to the server's API. A cluster without a leader answers nothing for 6 to
// 9 s.
const apiTimeout = 10 * time.Second

// Connect returns a broker, once it is connected. A connection that is lost later is made again for
// as long as the broker is open, and what could not be sent meanwhile is sent then.
func Connect(cfg Config) (*Broker, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	b := &Broker{Names: Names{cfg.Namespace}, cfg: cfg, log: cfg.Logger, opened: map[string]bool{}}
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

// Close ends the connection. Sends without an answer end with ErrClosed. Closing again does nothing.
func (b *Broker) Close() {
	b.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = b.conn.FlushWithContext(ctx) // acks are told nothing; give them a chance. (FlushTimeout shares timers between bubbles of virtual time.)
		cancel()
		b.out.close()
		b.conn.Close()
	})
}

// MaxPayload returns how many bytes a message may have, headers included.
func (b *Broker) MaxPayload() int { return int(b.conn.MaxPayload()) }

func (b *Broker) report(_ *nats.Conn, sub *nats.Subscription, err error) {
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.log.Warn("nats", "err", err, "subject", subject)
}

func (b *Broker) disconnected(_ *nats.Conn, err error) {
	if err != nil {
		b.log.Warn("nats: connection lost; connecting again", "err", err)
	}
}

func (b *Broker) reconnected(*nats.Conn) {
	b.connects.Add(1)
	b.log.Info("nats: connected again")
}

// Reconnects returns how often a lost connection was made again. What is there then may be another server,
// or the same one with older files.
func (b *Broker) Reconnects() uint64 { return b.connects.Load() }

// once runs create unless it has succeeded for this name before.
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

// forget has names looked for again when they are opened.
func (b *Broker) forget(names ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range names {
		delete(b.opened, name)
	}
}

// A request is tried again after tryTimeout without an answer: it may have got lost, or its answer.
const (
	tryTimeout = 2 * time.Second
	tryAgain   = 50 * time.Millisecond
)

// retry tries a request until it has an answer, or ctx ends, or apiTimeout has passed. What it does must
// not do more when it is done twice.
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
		timer := time.NewTimer(tryAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// Unanswered reports whether an error says only that no answer came: another try may get one.
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
