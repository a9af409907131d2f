package session

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/internal/wait"
)

// publisher is the goroutine that sends what is not sent by those who submit, and when it is to be woken.
type publisher struct {
	wake   wait.Signal
	sleeps bool // guarded by Session.mu; the goroutine looks again when it is woken, or at the time it knows
}

// wakeUp has the goroutine look again, if it sleeps. Session.mu is held.
func (p *publisher) wakeUp() {
	if p.sleeps {
		p.sleeps = false
		p.wake.Set()
	}
}

// runPublisher publishes what waits, has delays and deadlines pass, appends what the owner itself decides, and asks for
// the end of the log when that is silent.
func (s *Session) runPublisher() {
	sleep := time.NewTimer(0)
	defer sleep.Stop()
	for {
		now := time.Now()
		s.fireTimers(now)
		s.appendEnds(now)
		s.shareChildren(now)
		s.publish(now)
		s.listen(now)
		sleep.Reset(s.sleep(time.Now()))
		select {
		case <-s.publisher.wake:
		case <-sleep.C:
		case <-s.base.Done():
			return
		}
	}
}

// longestSleep is for how long the publisher sleeps if nothing is to come.
const longestSleep = time.Hour

// sleep marks the publisher as sleeping, and returns for how long it may sleep.
func (s *Session) sleep(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publisher.sleeps = true
	switch {
	case s.broken != nil:
		return longestSleep // what waits is never sent
	case !s.keeper.leased(now):
		return leaseless // without the lease nothing is sent; the keeper wakes the publisher when it has it again
	}
	if s.outbox.sendable(now) || len(s.tracker.ends) > 0 || s.children.shareable() {
		return 0
	}
	until := now.Add(longestSleep)
	for _, at := range []time.Time{s.tracker.timers.next(), s.outbox.next(now), s.silentAt()} {
		if !at.IsZero() && at.Before(until) {
			until = at
		}
	}
	return max(0, until.Sub(now))
}

// silentAt returns when the log is to be asked for its end, zero if no open task is to end by it.
func (s *Session) silentAt() time.Time {
	if s.tracker.published() == 0 {
		return time.Time{}
	}
	return s.reader.silentAt()
}

// fireTimers applies the events of all timers that are due.
func (s *Session) fireTimers(now time.Time) {
	u := s.lock()
	defer u.unlock()
	for {
		t, h, ok := s.tracker.popTimer(now)
		if !ok {
			return
		}
		switch t.kind {
		case loadInputAgain:
			s.inputs.add(t.number)
		case deadlinePassed:
			u.apply(&graph.Event{What: graph.Expired, Task: t.number}, h, nil)
		case delayOver:
			u.apply(&graph.Event{What: graph.Due, Task: t.number}, h, nil)
		}
	}
}

// publish sends a batch from each lane that may send.
func (s *Session) publish(now time.Time) {
	if !s.keeper.leased(now) {
		return // another may hold the name by now
	}
	s.mu.Lock()
	lanes := s.outbox.order
	s.mu.Unlock()
	for _, l := range lanes {
		s.mu.Lock()
		sendable := l.sendable(now)
		s.mu.Unlock()
		if !sendable || !s.openLane(l) {
			continue
		}
		if !s.keeper.leased(time.Now()) { // to open a lane may take long
			return
		}
		s.mu.Lock()
		b := s.formBatchLocked(l)
		s.mu.Unlock()
		b.send()
	}
}

// listen asks for the end of the log if tasks are open and nothing was heard for a while: what was republished may have
// got lost.
func (s *Session) listen(now time.Time) {
	s.mu.Lock()
	at := s.silentAt()
	s.mu.Unlock()
	if at.IsZero() || now.Before(at) {
		return
	}
	s.reader.heardNow()
	s.keeper.wake.Set() // the log may be another one since a reconnect
	ctx, cancel := context.WithTimeout(s.base, silence)
	defer cancel()
	if err := s.reader.ask(ctx); err != nil && s.base.Err() == nil {
		s.cfg.Logger.Warn("session: ask for the end of the log", "owner", s.Owner(), "err", err)
	}
}
