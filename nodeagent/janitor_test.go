package nodeagent_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/nodeagent"
	"github.com/tidemill/tidemill/queues"
)

// passes returns when so much time has passed, which in a bubble is virtual time.
func passes(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// left is what the server still has of an owner.
type left struct {
	records int
	row     lease.Row
	hasRow  bool
}

// sessions opens the table of owners.
func (h *harness) sessions() *queues.Table {
	h.Helper()
	table, err := h.broker.OpenTable(h.ctx, h.broker.Sessions())
	check(h.T, err)
	return table
}

// look returns what the server still has of an owner.
func (h *harness) look(owner string) (l left) {
	h.Helper()
	log, err := h.broker.OpenLog(h.ctx, h.broker.Log(owner))
	check(h.T, err)
	for _, err := range log.Read(h.ctx, 0) {
		check(h.T, err)
		l.records++
	}
	if row, err := h.sessions().Get(h.ctx, owner); err == nil {
		l.hasRow = true
		check(h.T, json.Unmarshal(row.Value, &l.row))
	}
	return l
}

// leave stores a row and a record of an owner.
func (h *harness) leave(owner string, row lease.Row) {
	h.Helper()
	value, err := json.Marshal(row)
	check(h.T, err)
	_, err = h.sessions().Put(h.ctx, owner, value)
	check(h.T, err)
	h.append(owner)
}

// append stores a record of an owner.
func (h *harness) append(owner string) {
	h.Helper()
	log, err := h.broker.OpenLog(h.ctx, h.broker.Log(owner))
	check(h.T, err)
	check(h.T, log.Append(h.ctx, queues.Message{Data: []byte("x")}))
}

// The janitor removes what sessions have left: at once if they have ended, and after two lease times if they do not renew
// their leases. Records that are stored later go together with the row. The records of a named job stay while it
// lives, and for its TTL.
func TestTheJanitorRemovesWhatSessionsLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, map[string]float64{"cpu": 1})
		_ = h.startAgent("n2", map[string]float64{"cpu": 1}) // only one of them is the janitor
		passes(20 * time.Second)
		h.leave("ended", lease.Row{Holder: "a", Ended: true})
		h.leave("gone", lease.Row{Holder: "a"})
		h.leave("job-1", lease.Row{Holder: "a", Job: "job", TTL: 90 * time.Minute})
		h.leave("old-1", lease.Row{Holder: "a", Job: "old", Ended: true})
		jobs, err := h.broker.OpenTable(h.ctx, h.broker.Jobs())
		check(t, err)
		for job, now := range map[string]string{"job": `{"incarnation":1}`, "old": `{"incarnation":2}`} {
			_, err = jobs.Put(h.ctx, job, []byte(now))
			check(t, err)
		}

		passes(10 * time.Second)
		for owner, records := range map[string]int{"ended": 0, "gone": 1, "job-1": 1, "old-1": 0} {
			if l := h.look(owner); l.records != records || !l.hasRow {
				t.Errorf("after ten seconds, owner %s: got %+v, want %d records and a row", owner, l, records)
			}
		}
		h.append("ended") // after the owner's end

		passes(time.Minute)
		for owner, records := range map[string]int{"ended": 1, "gone": 0, "job-1": 1} {
			if l := h.look(owner); l.records != records || l.row.Ended != (owner != "job-1") {
				t.Errorf("after a minute, owner %s: got %+v, want %d records, and a row that says that all but job-1 have ended", owner, l, records)
			}
		}

		passes(65 * time.Minute)
		for owner, want := range map[string]left{"ended": {}, "gone": {}, "old-1": {}} {
			if l := h.look(owner); l != want {
				t.Errorf("after an hour, owner %s: got %+v, want nothing", owner, l)
			}
		}
		if l := h.look("job-1"); l.records != 1 || l.row.Ended {
			t.Errorf("after an hour, owner job-1: got %+v, want 1 record, and a row that says that it has not ended", l)
		}

		passes(time.Hour)
		if l := h.look("job-1"); l.records != 0 || !l.row.Ended {
			t.Errorf("after two hours, owner job-1: got %+v, want no records, and a row that says that it has ended", l)
		}
	})
}

// Any client can store a row whose key is a pattern of subjects. It is the row of no owner, and nothing is removed for it.
func TestARowWhoseKeyIsAPattern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, map[string]float64{"cpu": 1})
		h.leave("other", lease.Row{Holder: "h", Job: "j", TTL: time.Hour})
		conn, err := nats.Connect("", nats.InProcessServer(h.server))
		check(t, err)
		defer conn.Close()
		for _, key := range []string{"*", ">"} {
			check(t, conn.Publish("$KV.tm_sessions."+key, []byte(`{"ended":true}`)))
			check(t, conn.Publish("$KV.tm_cancels."+key, []byte(`{"asked":[[0,99]]}`)))
		}
		passes(time.Minute)
		if l := h.look("other"); l.records != 1 {
			t.Errorf("%d records of another owner are left, want 1", l.records)
		}
	})
}

// The tasks of a session without a job do not run after the next boot: nobody waits for them.
func TestTasksOfAFormerBootDoNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, map[string]float64{"cpu": 1})
		check(t, h.agent.Close(h.ctx))
		ran := make(chan bool, 10)
		h.define("f", func(context.Context, []byte) ([]byte, error) { ran <- true; return nil, nil })
		value, err := json.Marshal(lease.Row{Holder: "h", Boot: "former"})
		check(t, err)
		_, err = h.sessions().Put(h.ctx, owner, value)
		check(t, err)
		h.publish("cpu", "f", numbered(1, 5)...)
		resources, err := task.NewResources(map[string]float64{"cpu": 1})
		check(t, err)
		agent, err := nodeagent.Start(h.ctx, h.connect(), nodeagent.Config{NodeID: "n2", Resources: resources, Registry: h.registry, Boot: "present"})
		check(t, err)
		passes(time.Minute)
		check(t, agent.Close(h.ctx))
		if len(ran) > 0 {
			t.Errorf("%d tasks of a former boot ran, want none", len(ran))
		}
	})
}

// A task that must run alone, and needs the resources of a lost slot, is left to other agents; the tasks behind it run. If
// there is no other agent, it runs when the slot is back.
func TestATaskThatRunsAloneWaitsForALostSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, map[string]float64{"cpu": 2})
		returns := make(chan struct{})
		h.define("stubborn", func(context.Context, []byte) ([]byte, error) { <-returns; return nil, nil })
		h.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
		h.publish("cpu", "f", numbered(1, 1)...)
		h.publish("cpu=2", "f", numbered(100, 1)...)
		h.next(2)
		queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches("cpu", string(task.Normal)))
		check(t, err)
		check(t, queue.Publish(h.ctx, queues.Message{Data: task.AppendBatch(nil, &task.Batch{
			Owner: owner, Class: "cpu", Level: task.Normal, Calls: []task.Call{{Func: "stubborn", Timeout: time.Second}}, Specs: []task.Spec{{Number: 2, Dispatch: task.Dispatch{Attempt: 1}}},
		})}))
		h.next(1)
		h.publish("cpu=2", "f", task.Spec{Number: 4, Dispatch: task.Dispatch{Losses: 3}})
		passes(time.Second)
		h.publish("cpu", "f", numbered(5, 1)...)
		passes(time.Minute)
		h.expectOK(5)
		close(returns)
		h.expectOK(4)
	})
}
