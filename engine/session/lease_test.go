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

// passes returns when so much time has passed, which in a bubble is virtual time.
func passes(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// end marks the owner's row as ended, as a janitor does when it believes that the owner is gone.
func (h *harness) end(owner string) {
	h.Helper()
	table, err := h.broker.OpenTable(h.ctx, h.broker.Sessions())
	check(h.T, err)
	value, err := json.Marshal(lease.Row{Ended: true})
	check(h.T, err)
	_, err = table.Put(h.ctx, owner, value)
	check(h.T, err)
}

// A session that has lost its lease goes on as a new owner: it publishes its open tasks again as that, and passes over
// records in the old owner's log.
func TestASessionThatLostItsLeaseTakesANewName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		h.pull()
		done, open := h.submit(), h.submit()
		h.specs(2)
		h.record(ok(1, "done"))
		h.expectOutcome(done, "done")
		h.end("me")
		batch := receive(t, h.batches)
		if batch.Owner != "me-1" || len(batch.Specs) != 1 || batch.Specs[0].Number != 2 || h.session.Owner() != "me-1" {
			t.Fatalf("got the batch %+v of the owner %s, want one of me-1 with task 2 alone", batch, h.session.Owner())
		}
		h.record(ok(2, "late"))
		log, err := h.broker.OpenLog(h.ctx, h.broker.Log("me-1"))
		check(t, err)
		passes(time.Minute)
		check(t, log.Append(h.ctx, queues.Message{Data: encode("me-1", ok(2, "again"))}))
		h.expectOutcome(open, "again")
		h.expectOutcome(done, "done")
	})
}

// A run of a named job that has lost its lease ends, and its session and its tasks say why.
func TestAJobThatLostItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		s, err := session.Open(h.ctx, h.broker, session.Config{Job: "j", Logger: slog.New(slog.DiscardHandler)})
		check(t, err)
		defer s.Close()
		handle := s.Submit(h.ctx, &session.Order{Template: f}, nil)
		if _, err := session.Open(h.ctx, h.broker, session.Config{Job: "j"}); !errors.Is(err, lease.ErrHeld) {
			t.Errorf("open a second run: got the error %v, want %v", err, lease.ErrHeld)
		}
		h.end(s.Owner())
		receive(t, s.Done())
		if err := s.Err(); !errors.Is(err, lease.ErrLost) {
			t.Errorf("the session ended with %v, want %v", err, lease.ErrLost)
		}
		if _, err := h.outcome(handle); !errors.Is(err, lease.ErrLost) {
			t.Errorf("an open task ended with %v, want %v", err, lease.ErrLost)
		}
		next, err := session.Open(h.ctx, h.broker, session.Config{Job: "j", Logger: slog.New(slog.DiscardHandler)})
		check(t, err)
		defer next.Close()
		if next.Owner() != "j-2" {
			t.Errorf("the run after j-1 has the owner %s, want j-2", next.Owner())
		}
	})
}

// A dead letter has the input of a task, its failure and the history of its attempts.
func TestADeadLetterHasTheHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		h.pull()
		handle := h.submit()
		h.specs(1)
		h.record(note(1, task.Errored, 1, 0))
		h.specs(1)
		h.record(note(1, task.Lost, 2, 0), note(1, task.Lost, 2, 0))
		h.specs(1)
		failed := note(1, task.Failed, 2, 1)
		failed.Failure.Stack = "at the end"
		h.record(failed, ok(1, "too late"))
		if value, err := h.outcome(handle); err == nil {
			t.Fatalf("got the result %q, want a failure", value)
		}
		passes(time.Second)
		dead, err := h.broker.OpenDead(h.ctx, "cpu", "f")
		check(t, err)
		var letters []session.DeadLetter
		for e, err := range dead.Read(h.ctx, 0) {
			check(t, err)
			var l session.DeadLetter
			check(t, json.Unmarshal(e.Data, &l))
			letters = append(letters, l)
		}
		if len(letters) != 1 {
			t.Fatalf("got %d dead letters, want 1", len(letters))
		}
		l := letters[0]
		if l.Task != "me/1" || l.Func != "f" || l.Class != "cpu" || l.Attempt != 2 || l.Losses != 1 || string(l.Input) != "\x01" || l.Bytes != 1 {
			t.Errorf("got the dead letter %+v, want that of task me/1, function f, class cpu, attempt 2, 1 loss, an input of 1 byte", l)
		}
		if f := l.Failure; f.Message != "no" || f.Stack != "at the end" || f.Node != "n1" {
			t.Errorf("got the failure %+v, want the message %q and the stack %q, of the node n1", f, "no", "at the end")
		}
		if n := l.History; len(n) != 2 || n[0].State != "errored" || n[0].Failure.Message != "no" || n[1].State != "lost" {
			t.Errorf("got the history %+v, want an errored attempt with the message %q, and a lost one", n, "no")
		}
	})
}

// While the store is nearly full, new tasks fail and open ones go on. When there is space again, new tasks are taken.
func TestAFullStoreRefusesNewTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		h.pull()
		var full error
		s, err := session.Open(h.ctx, h.broker, session.Config{Owner: "s", Full: func() error { return full }})
		check(t, err)
		defer s.Close()
		submit := func() *session.Handle {
			return s.Submit(h.ctx, &session.Order{Template: f, Input: task.Value{Data: []byte{1}}}, nil)
		}
		open := submit()
		full = values.ErrStorageFull
		if err := submit().Outcome(h.ctx, &task.Value{}); !errors.Is(err, values.ErrStorageFull) {
			t.Errorf("a task that is submitted to a full store ended with %v, want %v", err, values.ErrStorageFull)
		}
		h.specs(1)
		log, err := h.broker.OpenLog(h.ctx, h.broker.Log("s"))
		check(t, err)
		check(t, log.Append(h.ctx, queues.Message{Data: encode("s", note(1, task.Lost, 1, 0))}))
		h.specs(1) // the lost task is published again
		full = nil
		again := submit()
		check(t, log.Append(h.ctx, queues.Message{Data: encode("s", ok(1, "one"), ok(2, "two"))}))
		h.expectOutcome(open, "one")
		h.expectOutcome(again, "two")
	})
}
