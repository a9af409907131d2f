package embedded

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/internal/platform"
)

// ErrDiskFull says that so little space is left that no new work should be stored, only what lets running work end.
var ErrDiskFull = errors.New("the disk is nearly full")

// Space is the disk space for streams in files, in bytes.
type Space struct {
	Used  int64 // by streams
	Limit int64 // for streams; 0 = no limit
	Free  int64 // on the disk
}

// Space is full when streams use fullPercent of what they may use, or when less than minFree bytes are free on the disk, with
// which a server could soon write no more.
const (
	fullPercent = 85
	minFree     = 8 << 20
)

// Full returns an ErrDiskFull if no new work should be stored, nil if there is space. Streams may use the limit, or what they
// use now and the free space of the disk, whichever is less.
func (s Space) Full() error {
	total := s.Used + s.Free
	bound := fmt.Sprintf("%d bytes are free on the disk", s.Free)
	if s.Limit > 0 && s.Limit < total {
		total, bound = s.Limit, fmt.Sprintf("the limit is %d bytes", s.Limit)
	}
	if s.Free >= minFree && s.Used < total/100*fullPercent {
		return nil
	}
	return fmt.Errorf("%w: streams use %d bytes, and %s", ErrDiskFull, s.Used, bound)
}

// space is what the goroutine that watches the disk has found last.
type space struct {
	now  atomic.Pointer[Space]
	full atomic.Pointer[error] // nil unless now.Full returned an error
}

// Space returns the space as it was up to half a second ago; the zero value without a Dir.
func (s *Server) Space() Space {
	if now := s.space.now.Load(); now != nil {
		return *now
	}
	return Space{}
}

// Full returns what [Space.Full] returned up to half a second ago. It costs an atomic load.
func (s *Server) Full() error {
	if full := s.space.full.Load(); full != nil {
		return *full
	}
	return nil
}

// measureEvery is how often the space is measured.
const measureEvery = 500 * time.Millisecond

// watchDisk measures the space. When there is space again after a store ran full, it restarts the server, which otherwise stores
// nothing more.
func (s *Server) watchDisk() {
	defer close(s.ended)
	ticker := time.NewTicker(measureEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.done:
			return
		}
		s.measure()
		s.checkDir()
		if s.Full() != nil || !s.ranFull() {
			continue
		}
		s.cfg.Logger.Warn("embedded: a store had run full and there is space again; restarting the server")
		if err := s.Restart(); err != nil {
			s.cfg.Logger.Error("embedded: restart the server; trying again in half a second", "err", err)
		}
	}
}

// ranFull reports whether a store of the server inside ran full since it was started.
func (s *Server) ranFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.ranFull()
}

// measure measures the space.
func (s *Server) measure() {
	free, err := platform.FreeBytes(s.dir.path)
	if err != nil {
		s.cfg.Logger.Warn("embedded: measure the free space of the disk", "err", err)
		return
	}
	s.mu.Lock()
	now := Space{Used: s.usedLocked(), Limit: s.cfg.Limit, Free: free}
	s.mu.Unlock()
	s.space.now.Store(&now)
	if err := now.Full(); err != nil {
		s.space.full.Store(&err)
	} else {
		s.space.full.Store(nil)
	}
}

// usedLocked returns how many bytes streams in files use.
func (s *Server) usedLocked() int64 {
	info, err := s.ns.Jsz(nil)
	if err != nil {
		return 0
	}
	return int64(info.Store)
}
