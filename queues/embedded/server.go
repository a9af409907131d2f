package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tidemill/tidemill/queues"
)

// Config says how the server runs.
type Config struct {
	Listen string       // host:port for other NATS clients, port 0 = any; "" = this process alone
	Dir    string       // where streams in files are kept; "" = a temporary folder, removed by Close
	Memory int64        // bytes that streams in memory may take; 0 = 4 GiB
	Logger *slog.Logger // nil = slog.Default()
}

// Server is a NATS server in this process.
type Server struct {
	cfg  Config
	ns   *server.Server
	temp string // removed by Close; "" if Dir was given
}

// maxPayload is the largest that the server takes without a warning.
const maxPayload = 8 << 20

// Start returns a running server.
func Start(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Memory == 0 {
		cfg.Memory = 4 << 30
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg}
	if cfg.Dir == "" {
		if s.temp, err = os.MkdirTemp("", "tidemill-"); err != nil {
			return nil, fmt.Errorf("embedded: start: %w", err)
		}
		opts.StoreDir = s.temp
	}
	if err := s.start(opts); err != nil {
		s.Close()
		return nil, fmt.Errorf("embedded: start: %w", err)
	}
	return s, nil
}

func (cfg Config) options() (*server.Options, error) {
	opts := &server.Options{
		ServerName: "tidemill", JetStream: true, StoreDir: cfg.Dir,
		JetStreamMaxMemory: cfg.Memory, JetStreamMaxStore: 1 << 40,
		DontListen: cfg.Listen == "", NoSigs: true, DisableJetStreamBanner: true,
		MaxPayload: maxPayload, MaxPending: 256 << 20,
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err == nil {
		opts.Port, err = strconv.Atoi(port)
	}
	if err != nil || opts.Port < 0 || opts.Port > 65535 {
		return nil, fmt.Errorf("embedded: listen address %q: want host:port, such as 127.0.0.1:4222", cfg.Listen)
	}
	opts.Host = host
	if host == "" {
		opts.Host = "127.0.0.1"
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return opts, nil
}

// start runs the server. What the server finds fatal it only logs, so the log is where to find out.
func (s *Server) start(opts *server.Options) error {
	ns, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ns = ns
	log := &logger{to: s.cfg.Logger}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	if err := log.fatal(); err != nil {
		return err
	}
	if !ns.JetStreamEnabled() {
		return errors.New("the server runs without JetStream")
	}
	return nil
}

// InProcessConn makes the server a queues.Dialer.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

var _ queues.Dialer = (*Server)(nil)

// URL returns where other NATS clients connect, "" if the server does not listen.
func (s *Server) URL() string {
	if s.cfg.Listen == "" {
		return ""
	}
	return s.ns.ClientURL()
}

// Close ends the server and returns when all its goroutines have ended. Streams in memory are gone.
func (s *Server) Close() {
	if s.ns != nil {
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
	}
	if s.temp != "" {
		_ = os.RemoveAll(s.temp)
	}
}

// logger passes the server's warnings and errors on, and keeps what it says is fatal.
type logger struct {
	to *slog.Logger

	mu  sync.Mutex
	err error // guarded by mu
}

func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Fatalf keeps the message as the reason why the server did not start.
func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.New(strings.TrimSpace(fmt.Sprintf(format, v...)))
}

// Errorf passes an error on.
func (l *logger) Errorf(format string, v ...any) {
	l.to.Error("nats-server", "msg", fmt.Sprintf(format, v...))
}

// Warnf passes a warning on.
func (l *logger) Warnf(format string, v ...any) {
	l.to.Warn("nats-server", "msg", fmt.Sprintf(format, v...))
}

// Noticef, Debugf and Tracef are not for the program's log.
func (l *logger) Noticef(string, ...any) {}

// Debugf drops the message.
func (l *logger) Debugf(string, ...any) {}

// Tracef drops the message.
func (l *logger) Tracef(string, ...any) {}
