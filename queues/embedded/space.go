package embedded

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrDiskFull says that so little room is left that nothing new is to be stored, but for what lets others
// end.
var ErrDiskFull = errors.New("the disk is nearly full")

// Space is what there is for streams in files, in bytes.
type Space struct {
	Used  int64 // by streams
	Limit int64 // of streams; 0 = none
	Free  int64 // of the disk
}

// Submissions are refused when this share of what streams may have is used, or when so little is free
// that a server could not go on writing.
const (
	fullPercent = 85
	leastFree   = 8 << 20
)

// Full returns why nothing new is to be stored, nil if there is room. What streams may have is the limit,
// or what they use and the disk's free space, whichever is less.
func (s Space) Full() error {
	room := s.Used + s.Free
	what := fmt.Sprintf("%d bytes are free", s.Free)
	if s.Limit > 0 && s.Limit < room {
		room, what = s.Limit, fmt.Sprintf("the limit is %d bytes", s.Limit)
	}
	if s.Free >= leastFree && s.Used < room/100*fullPercent {
		return nil
	}
	return fmt.Errorf("%w: streams use %d bytes, and %s", ErrDiskFull, s.Used, what)
}

// space is the watch's latest look.
type space struct {
	now  atomic.Pointer[Space]
	full atomic.Pointer[error]
}

// Space returns what there was a moment ago; all is 0 without a Dir.
func (s *Server) Space() Space {
	if now := s.space.now.Load(); now != nil {
		return *now
	}
	return Space{}
}

// Full returns why nothing new is to be stored, nil if there is room. It costs an atomic load.
func (s *Server) Full() error {
	if full := s.space.full.Load(); full != nil {
		return *full
	}
	return nil
}

// lookEvery is how often the disk is looked at.
const lookEvery = 500 * time.Millisecond

// watch looks at the disk, and revives a server whose store ran full when there is space again: freeing
// space alone does not.
func (s *Server) watch() {
	defer close(s.ended)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.done:
			return
		}
		s.look()
		if s.Full() != nil || !s.ranFull() {
			continue
		}
		s.cfg.Logger.Warn("embedded: a store had run full, and there is space again: starting the server anew")
		if err := s.Restart(); err != nil {
			s.cfg.Logger.Error("embedded: start the server anew; trying again", "err", err)
		}
	}
}

func (s *Server) ranFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.ranFull()
}

// look notes what there is.
func (s *Server) look() {
	var disk unix.Statfs_t
	if err := unix.Statfs(s.dir.path, &disk); err != nil {
		s.cfg.Logger.Warn("embedded: look at the disk", "err", err)
		return
	}
	s.mu.Lock()
	now := Space{Used: s.used(), Limit: s.cfg.Limit, Free: int64(disk.Bavail) * disk.Bsize}
	s.mu.Unlock()
	s.space.now.Store(&now)
	if err := now.Full(); err != nil {
		s.space.full.Store(&err)
	} else {
		s.space.full.Store(nil)
	}
}

// used returns how many bytes streams in files take. mu is held.
func (s *Server) used() int64 {
	info, err := s.ns.Jsz(nil)
	if err != nil {
		return 0
	}
	return int64(info.Store)
}
