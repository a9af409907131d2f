package session

import (
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/wait"
)

// A publisher that is awake is not woken: whatever comes while it works must be seen before it sleeps.
func TestPublisherDoesNotSleepOnWhatItMissed(t *testing.T) {
	now := time.Now()
	begin := func() *Session {
		s := &Session{outbox: newOutbox(), publisher: publisher{wake: wait.NewSignal()}, children: children{candidates: map[*Child]bool{}}}
		s.keeper.began = now
		s.keeper.until.Store(int64(time.Hour))
		return s
	}
	for _, c := range []struct {
		name   string
		missed func(s *Session)
		want   time.Duration
	}{
		{"nothing", func(*Session) {}, time.Hour},
		{"another agent has announced idle CPUs, and children wait", func(s *Session) {
			s.children.of("cpu").push(&Child{})
			s.children.cpusElsewhere.Store(true)
		}, 0},
		{"another agent has announced idle CPUs, and no child waits", func(s *Session) {
			s.children.of("cpu")
			s.children.cpusElsewhere.Store(true)
		}, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := begin()
			c.missed(s)
			if got := s.sleep(now); got != c.want {
				t.Errorf("the publisher sleeps for: got %s, want %s", got, c.want)
			}
		})
	}
}
