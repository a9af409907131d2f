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
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tidemill/tidemill/internal/platform"
	"github.com/tidemill/tidemill/queues"
)

// SyncMode says when a message in a stream in files survives a power cut.
type SyncMode int

// In either mode a killed process loses nothing that was acknowledged.
const (
	// SyncAlways acknowledges a message once it is on the disk.
	SyncAlways SyncMode = iota
	// NoSyncForTwoMinutes acknowledges a message once the operating system has it: a power cut loses the messages of the last
	// two minutes, and streams that were created in them.
	NoSyncForTwoMinutes
)

// Config configures a server.
type Config struct {
	Listen string       // host:port for other NATS clients, port 0 = any free one; "" = this process alone
	Dir    string       // of streams in files, created unless it exists; "" = a temporary directory, removed by Close, in the first place where it can be made
	Limit  int64        // bytes that streams in files may use; 0 = what the disk has
	Sync   SyncMode     // of streams in files
	Memory int64        // bytes that streams in memory may use; 0 = 4 GiB
	Logger *slog.Logger // nil = slog.Default()
}

// Server is a NATS server in this process. Its methods are safe for concurrent use.
type Server struct {
	cfg  Config
	opts *server.Options
	boot string
	temp string // the temporary directory; "" with Config.Dir
	dir  *dir   // nil without Config.Dir

	tempLock *os.File // of temp; nil if it has none

	mu  sync.Mutex     // held while the server inside is restarted
	ns  *server.Server // guarded by mu; the server inside, nil before it is started and once closed
	log *logger        // guarded by mu; of ns

	space  space
	loss   loss
	done   chan struct{} // closed by Close
	ended  chan struct{} // closed when watchDisk has returned
	closed sync.Once
}

// maxPayload, in bytes, is the largest that the server accepts without a warning.
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
	s.measure()
	go s.watchDisk()
	return s, nil
}

// open prepares the directory and starts the server.
func (s *Server) open() (err error) {
	if s.opts, err = s.cfg.options(); err != nil {
		return err
	}
	if s.cfg.Dir == "" {
		s.temp, err = makeTempDir(tempDirs())
		s.opts.StoreDir = s.temp
	} else if s.dir, err = openDir(s.cfg.Dir); err == nil {
		s.opts.StoreDir = s.dir.store()
	}
	if err != nil {
		return err
	}
	if s.temp != "" {
		s.tempLock = lockTempDir(s.temp)
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
	var err error
	if opts.Host, opts.Port, err = parseListen(cfg.Listen); err != nil {
		return nil, err
	}
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return opts, nil
}

// CheckListen returns an error unless this is a valid Config.Listen.
func CheckListen(address string) error {
	if address == "" {
		return nil
	}
	_, _, err := parseListen(address)
	return err
}

func parseListen(address string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(digits)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("embedded: listen address %q: want host:port, such as 127.0.0.1:4222", address)
	}
	return host, port, nil
}

// start starts the server inside. The server only logs fatal errors, so start takes them from its log.
func (s *Server) start() error {
	opts := s.opts.Clone() // the server changes it
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
		return errors.New("the server has started without JetStream")
	}
	if s.cfg.Listen != "" {
		if addr, ok := ns.Addr().(*net.TCPAddr); ok {
			s.opts.Port = addr.Port // a restarted server listens on the same address
		}
	}
	return nil
}

// Boot returns a random name, another one for each Start: leases under another name have no holder any more.
func (s *Server) Boot() string { return s.boot }

// Unclean reports whether the last Start with this Dir did not end by Close.
func (s *Server) Unclean() bool { return s.dir != nil && s.dir.unclean }

// MarkUnclean makes the next Start with this Dir report Unclean, even if Close is called.
func (s *Server) MarkUnclean() {
	if s.dir != nil {
		s.dir.keepMark.Store(true)
	}
}

// Restart stops the server inside and starts another on the same files. Open connections reconnect. Without a Dir it is an
// error, since streams in memory would be lost.
func (s *Server) Restart() error {
	if s.dir == nil {
		return errors.New("embedded: restart: streams in memory would be lost")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return errClosed
	}
	s.stopLocked()
	if err := s.start(); err != nil {
		s.log.setFull() // so that watchDisk tries again
		return fmt.Errorf("embedded: restart: %w", err)
	}
	return nil
}

var errClosed = errors.New("embedded: the server is closed")

// InProcessConn implements queues.Dialer.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return nil, errClosed
	}
	return s.ns.InProcessConn()
}

var _ queues.Dialer = (*Server)(nil)

// URL returns the URL for other NATS clients, "" if the server does not listen or is closed.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Listen == "" || s.ns == nil {
		return ""
	}
	return s.ns.ClientURL()
}

// Subscriptions returns the server's number of subscriptions, with which tests find leaks.
func (s *Server) Subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil {
		return 0
	}
	return int(s.ns.NumSubscriptions())
}

// Messages returns how many messages the server has received from its clients and has sent to them.
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

// Close stops the server and returns when all its goroutines have ended. Streams in memory are lost. Calling it again does
// nothing.
func (s *Server) Close() { s.closed.Do(s.close) }

func (s *Server) close() {
	close(s.done)
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns != nil {
		s.stopLocked()
		s.ns = nil
	}
	if s.dir != nil {
		if err := s.dir.close(); err != nil {
			s.cfg.Logger.Warn("embedded: close the directory", "err", err)
		}
	}
	closeTempLock(s.tempLock)
	if s.temp != "" {
		_ = os.RemoveAll(s.temp)
	}
}

// finishWithin bounds how long stopLocked waits for requests in progress.
const finishWithin = time.Second

// stopLocked stops the server inside, once it has answered the requests in progress, so that no stream is left half created. (The
// server sleeps with its mutexes held, and a request that waits for one of them would stop the virtual time of a synctest
// bubble.)
func (s *Server) stopLocked() {
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

// logger forwards the server's warnings and errors, and keeps its fatal error.
type logger struct {
	to *slog.Logger

	mu   sync.Mutex
	err  error // guarded by mu; the fatal error
	full bool  // guarded by mu; a store could not be written for lack of space

	writing error // guarded by mu; the first failure to write after which a stream is written no more
}

func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Fatalf keeps the message as the error with which the server did not start.
func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.New(strings.TrimSpace(fmt.Sprintf(format, v...)))
}

// Errorf forwards an error.
func (l *logger) Errorf(format string, v ...any) {
	l.to.Error("nats-server", "msg", l.note(fmt.Sprintf(format, v...)))
}

// Warnf forwards a warning.
func (l *logger) Warnf(format string, v ...any) {
	l.to.Warn("nats-server", "msg", l.note(fmt.Sprintf(format, v...)))
}

// note looks for a message that a store ran full. The server stores nothing more there until it is restarted, even if there is
// space again.
func (l *logger) note(msg string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if platform.SaysDiskFull(msg) {
		l.full = true
	}
	l.noteFailure(msg)
	return msg
}

// setFull makes watchDisk restart the server.
func (l *logger) setFull() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = true
}

func (l *logger) ranFull() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.full
}

// Noticef drops the message, as Debugf and Tracef do: the program's log has no use for it.
func (l *logger) Noticef(string, ...any) {}

// Debugf drops the message.
func (l *logger) Debugf(string, ...any) {}

// Tracef drops the message.
func (l *logger) Tracef(string, ...any) {}
