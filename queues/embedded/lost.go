package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/tidemill/tidemill/internal/platform"
)

// ErrDirLost says that the directory was deleted, or can be written no more: whatever waits for the server waits in vain.
var ErrDirLost = errors.New("the directory of the streams is lost")

// loss is whether the directory is lost, and who is to be told. A directory that is lost stays so until it is opened again: the
// server has stopped to write its streams.
type loss struct {
	suspected bool // the last look found it lost, too; only the goroutine that watches the disk

	mu   sync.Mutex
	err  error         // guarded by mu; an ErrDirLost
	tell []func(error) // guarded by mu
}

// Lost returns an ErrDirLost with the reason if the directory is lost, nil otherwise and without a Dir.
func (s *Server) Lost() error {
	s.loss.mu.Lock()
	defer s.loss.mu.Unlock()
	return s.loss.err
}

// NotifyLost has f called once with what Lost returns when the directory is lost, at once if it is. f must not block.
func (s *Server) NotifyLost(f func(err error)) {
	s.loss.mu.Lock()
	err := s.loss.err
	if err == nil {
		s.loss.tell = append(s.loss.tell, f)
	}
	s.loss.mu.Unlock()
	if err != nil {
		f(err)
	}
}

// checkDir looks whether the directory is lost. It must be found so twice, half a second apart.
func (s *Server) checkDir() {
	l := &s.loss
	err := s.dir.check()
	if err == nil {
		err = s.writeFailed()
	}
	suspected := l.suspected
	l.suspected = err != nil
	if err == nil || !suspected || s.Lost() != nil {
		return
	}
	err = fmt.Errorf("%w: %s: %w; end the program, see to the directory, and run it again", ErrDirLost, s.dir.path, err)
	s.cfg.Logger.Error("embedded: nothing can be stored any more", "err", err)
	l.mu.Lock()
	l.err = err
	tell := l.tell
	l.tell = nil
	l.mu.Unlock()
	for _, f := range tell {
		f(err)
	}
}

// writeFailed returns an error if the server inside has stopped to write a stream for another reason than a full disk, after
// which it is restarted.
func (s *Server) writeFailed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil || s.log.ranFull() || s.Full() != nil {
		return nil
	}
	return s.log.failure()
}

// criticalWrite is in what the server logs when it stops to write a stream.
const criticalWrite = "ritical write error"

// failure returns the first failure to write of which the server has logged that it is critical.
func (l *logger) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.writing
}

// noteFailure keeps a message if it says that a stream is written no more. mu is held.
func (l *logger) noteFailure(msg string) {
	if l.writing == nil && strings.Contains(msg, criticalWrite) {
		l.writing = errors.New(msg)
	}
}

// probeFile is opened for writing to see whether the directory can be written. It stays there: whoever copies the directory
// must not find a file that is gone when it is read.
const probeFile = "probe"

// check returns an error if this is not the directory any more that was opened, or if nothing can be created in it. A full disk
// is none.
func (d *dir) check() error {
	opened, err := d.lock.Stat()
	if err != nil {
		return err
	}
	if found, err := os.Stat(filepath.Join(d.path, lockFile)); err != nil {
		return seriously(err)
	} else if !os.SameFile(opened, found) {
		return errors.New("it was deleted, and created again by somebody else")
	}
	name := filepath.Join(d.store(), probeFile)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return seriously(err)
	}
	return seriously(f.Close())
}

// passing are errors that go away again, or that others see to.
var passing = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR}

// seriously returns the error unless it may go away again.
func seriously(err error) error {
	if platform.IsDiskFull(err) {
		return nil
	}
	for _, e := range passing {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}
