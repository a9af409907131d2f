package session_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/queues"
)

func passes(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// end has the owner's row say that it has ended, as a janitor does with what it takes for forgotten.
func (r *rig) end(owner string) {
	r.Helper()
	table, err := r.broker.OpenTable(r.ctx, r.broker.Sessions())
	check(r.T, err)
	value, err := json.Marshal(lease.Row{Ended: true})
	check(r.T, err)
	_, err = table.Put(r.ctx, owner, value)
	check(r.T, err)
}

// A session that has lost its lease goes on under a new name: it publishes what is open there, and what
// comes to the old log is nothing to it.
func TestASessionTakesANewName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		r.draw()
		done, open := r.submit(), r.submit()
		r.specs(2)
		r.record(ok(1, "done"))
		r.expect(done, "done")
		r.end("me")
		batch := receive(t, r.batches)
		if batch.Owner != "me-1" || len(batch.Specs) != 1 || batch.Specs[0].Number != 2 || r.session.Owner() != "me-1" {
			t.Fatalf("%+v", batch)
		}
		r.record(ok(2, "late"))
		log, err := r.broker.OpenLog(r.ctx, r.broker.Log("me-1"))
		check(t, err)
		passes(time.Minute)
		check(t, log.Append(r.ctx, queues.Message{Data: encode("me-1", ok(2, "again"))}))
		r.expect(open, "again")
		r.expect(done, "done")
	})
}

// A run of a named job that has lost its lease can do nothing more, and says why.
func TestAJobThatLostItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		s, err := session.Open(r.ctx, r.broker, session.Config{Job: "j", Logger: slog.New(slog.DiscardHandler)})
		check(t, err)
		defer s.Close()
		h := s.Submit(r.ctx, &session.Order{Template: f}, nil)
		if _, err := session.Open(r.ctx, r.broker, session.Config{Job: "j"}); !errors.Is(err, lease.ErrHeld) {
			t.Errorf("a second run: %v", err)
		}
		r.end(s.Owner())
		<-s.Done()
		if err := s.Err(); !errors.Is(err, lease.ErrLost) {
			t.Error(err)
		}
		if _, err := r.outcome(h); !errors.Is(err, lease.ErrLost) {
			t.Errorf("a waiting task: %v", err)
		}
		next, err := session.Open(r.ctx, r.broker, session.Config{Job: "j", Logger: slog.New(slog.DiscardHandler)})
		check(t, err)
		defer next.Close()
		if next.Owner() != "j-2" {
			t.Errorf("after j-1 has ended comes %s", next.Owner())
		}
	})
}

// A dead letter tells all that became of a task, and has its input.
func TestADeadLetterHasTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		r.draw()
		h := r.submit()
		r.specs(1)
		r.record(note(1, task.Errored, 1, 0))
		r.specs(1)
		r.record(note(1, task.Lost, 2, 0), note(1, task.Lost, 2, 0))
		r.specs(1)
		failed := note(1, task.Failed, 2, 1)
		failed.Failure.Stack = "at the end"
		r.record(failed, ok(1, "too late"))
		if _, err := r.outcome(h); err == nil {
			t.Fatal("no failure")
		}
		passes(time.Second)
		dead, err := r.broker.OpenDead(r.ctx, "cpu", "f")
		check(t, err)
		var letters []session.DeadLetter
		for e, err := range dead.Read(r.ctx, 0) {
			check(t, err)
			var l session.DeadLetter
			check(t, json.Unmarshal(e.Data, &l))
			letters = append(letters, l)
		}
		if len(letters) != 1 {
			t.Fatalf("%d letters", len(letters))
		}
		l := letters[0]
		if l.Task != "me/1" || l.Func != "f" || l.Class != "cpu" || l.Attempt != 2 || l.Losses != 1 || string(l.Input) != "\x01" || l.Bytes != 1 {
			t.Errorf("%+v", l)
		}
		if l.Failure.Message != "no" || l.Failure.Stack != "at the end" || l.Failure.Node != "n1" {
			t.Errorf("%+v", l.Failure)
		}
		if len(l.History) != 2 || l.History[0].State != "errored" || l.History[0].Failure.Message != "no" || l.History[1].State != "lost" {
			t.Errorf("%+v", l.History)
		}
	})
}

// While the store is nearly full nothing new is taken, what is open goes on, and later all is well.
func TestAFullStoreTakesNothingNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		r.draw()
		var full error
		s, err := session.Open(r.ctx, r.broker, session.Config{Owner: "s", Full: func() error { return full }})
		check(t, err)
		defer s.Close()
		submit := func() *session.Handle {
			return s.Submit(r.ctx, &session.Order{Template: f, Input: task.Value{Data: []byte{1}}}, nil)
		}
		open := submit()
		full = values.ErrStorageFull
		if err := submit().Outcome(r.ctx, &task.Value{}); !errors.Is(err, values.ErrStorageFull) {
			t.Errorf("while it is full: %v", err)
		}
		r.specs(1)
		log, err := r.broker.OpenLog(r.ctx, r.broker.Log("s"))
		check(t, err)
		check(t, log.Append(r.ctx, queues.Message{Data: encode("s", note(1, task.Lost, 1, 0))}))
		r.specs(1) // published again
		full = nil
		again := submit()
		check(t, log.Append(r.ctx, queues.Message{Data: encode("s", ok(1, "one"), ok(2, "two"))}))
		r.expect(open, "one")
		r.expect(again, "two")
	})
}
