package embedded

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tidemill/tidemill/queues"
)

// SyncMode says when a message in files is safe from a power cut.
type SyncMode int

// A killed process loses nothing that was acknowledged, in either mode.
const (
	// SyncAlways acknowledges a message once it is on the disk.
	SyncAlways SyncMode = iota
	// NoSyncForTwoMinutes acknowledges a message when the system has it: a power cut loses what came in the
	// last two minutes, and whole streams that are no older.
	NoSyncForTwoMinutes
)

// Config says how the server runs.
type Config struct {
	Listen string       // host:port for other NATS clients, port 0 = any; "" = this process alone
	Dir    string       // where streams in files are kept, made if there is none; "" = a temporary folder, removed by Close
	Limit  int64        // bytes that streams in files may take; 0 = what the disk has
	Sync   SyncMode     // of streams in files
	Memory int64        // bytes that streams in memory may take; 0 = 4 GiB
	Logger *slog.Logger // nil = slog.Default()
}

// Server is a NATS server in this process.
type Server struct {
	cfg  Config
	opts *server.Options
	boot string
	temp string // removed by Close; "" if Dir was given
	dir  *dir   // nil without Dir

	mu  sync.Mutex     // guards what follows; held while the server is restarted
	ns  *server.Server // nil while there is none
	log *logger        // of ns

	space  space         // of the disk
	done   chan struct{} // closed by Close
	ended  chan struct{} // closed when the watch has ended
	closed sync.Once
}

// maxPayload is the largest that the server takes without a warning.
const maxPayload = 8 << 20

// Start returns a running server. If another process uses Dir, the error is ErrDirHeld.
func Start(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Memory == 0 {
		cfg.Memory = 4 << 30
	}
	s := &Server{cfg: cfg, boot: rand.Text(), done: make(chan struct{}), ended: make(chan struct{})}
	if err := s.open(); err != nil {
		close(s.ended)
		s.Close()
		return nil, fmt.Errorf("embedded: start: %w", err)
	}
	if s.dir == nil {
		close(s.ended)
		return s, nil
	}
	s.look()
	go s.watch()
	return s, nil
}

func (s *Server) open() (err error) {
	if s.opts, err = s.cfg.options(); err != nil {
		return err
	}
	if s.cfg.Dir == "" {
		s.temp, err = os.MkdirTemp("", "tidemill-")
		s.opts.StoreDir = s.temp
	} else if s.dir, err = openDir(s.cfg.Dir); err == nil {
		s.opts.StoreDir = s.dir.store()
	}
	if err != nil {
		return err
	}
	return s.start()
}

func (cfg Config) options() (*server.Options, error) {
	opts := &server.Options{
		ServerName: "tidemill", JetStream: true, SyncAlways: cfg.Sync == SyncAlways,
		JetStreamMaxMemory: cfg.Memory, JetStreamMaxStore: cmp.Or(cfg.Limit, 1<<40),
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
func (s *Server) start() error {
	opts := s.opts.Clone() // the server writes into it
	ns, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	log := &logger{to: s.cfg.Logger}
	s.ns, s.log = ns, log
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	if err := log.fatal(); err != nil {
		return err
	}
	if !ns.JetStreamEnabled() {
		return errors.New("the server runs without JetStream")
	}
	if s.cfg.Listen != "" {
		if addr, ok := ns.Addr().(*net.TCPAddr); ok {
			s.opts.Port = addr.Port // another start is found at the same place
		}
	}
	return nil
}

// Boot returns a name that is fresh for each Start: what was leased under another one is nobody's.
func (s *Server) Boot() string { return s.boot }

// Unclean reports whether the last Start with this Dir did not end by Close.
func (s *Server) Unclean() bool { return s.dir != nil && s.dir.unclean }

// MarkUnclean has the next Start with this Dir find that this one did not end cleanly, whatever Close does.
func (s *Server) MarkUnclean() {
	if s.dir != nil {
		s.dir.dirty.Store(true)
	}
}

// Restart ends the server inside and starts another on the same files, under the connections that are
// open: they are made again. Without a Dir it is an error, since streams in memory would be gone.
func (s *Server) Restart() error {
	if s.dir == nil {
		return errors.New("embedded: restart: streams in memory would be gone")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return errClosed
	}
	s.stop()
	if err := s.start(); err != nil {
		s.log.refill() // the watch tries again
		return fmt.Errorf("embedded: restart: %w", err)
	}
	return nil
}

var errClosed = errors.New("embedded: the server is closed")

// InProcessConn makes the server a queues.Dialer.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return nil, errClosed
	}
	return s.ns.InProcessConn()
}

var _ queues.Dialer = (*Server)(nil)

// URL returns where other NATS clients connect, "" if the server does not listen.
func (s *Server) URL() string {
	if s.cfg.Listen == "" {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ns.ClientURL()
}

// Subscriptions returns how many the server has: one that leaks shows in the end.
func (s *Server) Subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return 0
	}
	return int(s.ns.NumSubscriptions())
}

// Messages returns how many messages the server has had from its clients and has sent to them: what work costs on the
// wire.
func (s *Server) Messages() (in, out int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return 0, 0
	}
	v, err := s.ns.Varz(nil)
	if err != nil {
		return 0, 0
	}
	return v.InMsgs, v.OutMsgs
}

// Close ends the server and returns when all its goroutines have ended. Streams in memory are gone.
// Closing again does nothing.
func (s *Server) Close() { s.closed.Do(s.close) }

func (s *Server) close() {
	close(s.done)
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns != nil {
		s.stop()
		s.ns = nil
	}
	if s.dir != nil {
		if err := s.dir.close(); err != nil {
			s.cfg.Logger.Warn("embedded: close", "err", err)
		}
	}
	if s.temp != "" {
		_ = os.RemoveAll(s.temp)
	}
}

// finishWithin bounds how long stop waits for requests that are being worked on.
const finishWithin = time.Second

// stop ends the server inside, once it has answered what it was asked: a stream is not left half made. (The
// server waits a moment with its locks held, and a request that waits for one of them would keep a bubble of
// virtual time from going on.) mu is held.
func (s *Server) stop() {
	for until := time.Now().Add(finishWithin); time.Now().Before(until); {
		info, err := s.ns.Jsz(nil)
		if err != nil || info.API.Inflight == 0 {
			break
		}
		<-time.After(time.Millisecond)
	}
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
}

// logger passes the server's warnings and errors on, and keeps what it says is fatal.
type logger struct {
	to *slog.Logger

	mu   sync.Mutex
	err  error // guarded by mu
	full bool  // guarded by mu; a store could not be written for want of space
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
	l.to.Error("nats-server", "msg", l.note(fmt.Sprintf(format, v...)))
}

// Warnf passes a warning on.
func (l *logger) Warnf(format string, v ...any) {
	l.to.Warn("nats-server", "msg", l.note(fmt.Sprintf(format, v...)))
}

// note looks whether the message says that a store has run full: the server then stores nothing more
// there, also when there is space again, until it is started anew.
func (l *logger) note(msg string) string {
	if strings.Contains(msg, syscall.ENOSPC.Error()) || strings.Contains(msg, syscall.EDQUOT.Error()) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.full = true
	}
	return msg
}

// refill notes that the server has to be started anew.
func (l *logger) refill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = true
}

func (l *logger) ranFull() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.full
}

// Noticef, Debugf and Tracef are not for the program's log.
func (l *logger) Noticef(string, ...any) {}

// Debugf drops the message.
func (l *logger) Debugf(string, ...any) {}

// Tracef drops the message.
func (l *logger) Tracef(string, ...any) {}
