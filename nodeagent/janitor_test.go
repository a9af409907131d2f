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

func passes(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// left is what is there of an owner.
type left struct {
	records int
	row     lease.Row
	there   bool // the row
}

func (b *bench) sessions() *queues.Table {
	b.Helper()
	table, err := b.broker.OpenTable(b.ctx, b.broker.Sessions())
	check(b.T, err)
	return table
}

func (b *bench) look(owner string) (l left) {
	b.Helper()
	log, err := b.broker.OpenLog(b.ctx, b.broker.Log(owner))
	check(b.T, err)
	for _, err := range log.Read(b.ctx, 0) {
		check(b.T, err)
		l.records++
	}
	if row, err := b.sessions().Get(b.ctx, owner); err == nil {
		l.there = true
		check(b.T, json.Unmarshal(row.Value, &l.row))
	}
	return l
}

// leave makes an owner with a row and a record.
func (b *bench) leave(owner string, row lease.Row) {
	b.Helper()
	value, err := json.Marshal(row)
	check(b.T, err)
	_, err = b.sessions().Put(b.ctx, owner, value)
	check(b.T, err)
	b.append(owner)
}

func (b *bench) append(owner string) {
	b.Helper()
	log, err := b.broker.OpenLog(b.ctx, b.broker.Log(owner))
	check(b.T, err)
	check(b.T, log.Append(b.ctx, queues.Message{Data: []byte("x")}))
}

// The janitor removes what sessions have left: of those that have ended at once, of those whose leases are
// gone after two leases, and what comes late with the row. A named job stays for as long as it was told,
// and for as long as it lives.
func TestTheJanitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, map[string]float64{"cpu": 1})
		_ = b.startAgent("n2", map[string]float64{"cpu": 1}) // only one of them is the janitor
		passes(20 * time.Second)
		b.leave("ended", lease.Row{Holder: "a", Ended: true})
		b.leave("gone", lease.Row{Holder: "a"})
		b.leave("job-1", lease.Row{Holder: "a", Job: "job", TTL: 90 * time.Minute})
		b.leave("old-1", lease.Row{Holder: "a", Job: "old", Ended: true})
		jobs, err := b.broker.OpenTable(b.ctx, b.broker.Jobs())
		check(t, err)
		for job, now := range map[string]string{"job": `{"incarnation":1}`, "old": `{"incarnation":2}`} {
			_, err = jobs.Put(b.ctx, job, []byte(now))
			check(t, err)
		}

		passes(10 * time.Second)
		for owner, records := range map[string]int{"ended": 0, "gone": 1, "job-1": 1, "old-1": 0} {
			if l := b.look(owner); l.records != records || !l.there {
				t.Errorf("soon: %s: %+v", owner, l)
			}
		}
		b.append("ended") // late

		passes(time.Minute)
		for owner, records := range map[string]int{"ended": 1, "gone": 0, "job-1": 1} {
			if l := b.look(owner); l.records != records || l.row.Ended != (owner != "job-1") {
				t.Errorf("after a minute: %s: %+v", owner, l)
			}
		}

		passes(65 * time.Minute)
		for owner, want := range map[string]left{"ended": {}, "gone": {}, "old-1": {}} {
			if l := b.look(owner); l != want {
				t.Errorf("after an hour: %s: %+v", owner, l)
			}
		}
		if l := b.look("job-1"); l.records != 1 || l.row.Ended {
			t.Errorf("after an hour: the job is %+v", l)
		}

		passes(time.Hour)
		if l := b.look("job-1"); l.records != 0 || !l.row.Ended {
			t.Errorf("after two hours: the job is %+v", l)
		}
	})
}

// A row whose key is a pattern, as any client may write it, is nobody's: nothing is removed for it.
func TestARowThatIsAPattern(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, map[string]float64{"cpu": 1})
		b.leave("other", lease.Row{Holder: "h", Job: "j", TTL: time.Hour})
		conn, err := nats.Connect("", nats.InProcessServer(b.server))
		check(t, err)
		defer conn.Close()
		for _, key := range []string{"*", ">"} {
			check(t, conn.Publish("$KV.tm_sessions."+key, []byte(`{"ended":true}`)))
			check(t, conn.Publish("$KV.tm_cancels."+key, []byte(`{"asked":[[0,99]]}`)))
		}
		passes(time.Minute)
		if l := b.look("other"); l.records != 1 {
			t.Errorf("%d records are left", l.records)
		}
	})
}

// What an unnamed session of a former boot has left runs no more: nobody waits for it.
func TestTasksOfADeadProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, map[string]float64{"cpu": 1})
		check(t, b.agent.Close(b.ctx))
		ran := make(chan bool, 10)
		b.define("f", func(context.Context, []byte) ([]byte, error) { ran <- true; return nil, nil })
		value, err := json.Marshal(lease.Row{Holder: "h", Boot: "former"})
		check(t, err)
		_, err = b.sessions().Put(b.ctx, owner, value)
		check(t, err)
		b.publish("cpu", "f", numbered(1, 5)...)
		resources, err := task.NewResources(map[string]float64{"cpu": 1})
		check(t, err)
		agent, err := nodeagent.Start(b.ctx, b.connect(), nodeagent.Config{NodeID: "n2", Resources: resources, Registry: b.registry, Boot: "present"})
		check(t, err)
		passes(time.Minute)
		check(t, agent.Close(b.ctx))
		if len(ran) > 0 {
			t.Errorf("%d tasks ran", len(ran))
		}
	})
}

// A task that is to run alone, and needs what a lost slot has, is left to others; the rest goes on.
func TestAloneBehindALostSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, map[string]float64{"cpu": 2})
		returns := make(chan struct{})
		b.define("deaf", func(context.Context, []byte) ([]byte, error) { <-returns; return nil, nil })
		b.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
		b.publish("cpu", "f", numbered(1, 1)...)
		b.publish("cpu=2", "f", numbered(100, 1)...)
		b.next(2)
		queue, err := b.broker.OpenQueue(b.ctx, b.broker.Batches("cpu", string(task.Normal)))
		check(t, err)
		check(t, queue.Publish(b.ctx, queues.Message{Data: task.AppendBatch(nil, &task.Batch{
			Owner: owner, Class: "cpu", Level: task.Normal, Calls: []task.Call{{Func: "deaf", Timeout: time.Second}}, Specs: []task.Spec{{Number: 2, Dispatch: task.Dispatch{Attempt: 1}}},
		})}))
		b.next(1)
		b.publish("cpu=2", "f", task.Spec{Number: 4, Dispatch: task.Dispatch{Losses: 3}})
		passes(time.Second)
		b.publish("cpu", "f", numbered(5, 1)...)
		passes(time.Minute)
		if got := b.next(1); got[5].State != task.OK {
			t.Errorf("a task of one CPU: %+v", got)
		}
		close(returns)
		if got := b.next(1); got[4].State != task.OK {
			t.Errorf("the one that runs alone, once the slot is back: %+v", got)
		}
	})
}
