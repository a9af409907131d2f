package nodeagent_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/queues"
)

func passes(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// left is what is there of an owner.
type left struct {
	records int
	row     session.Row
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
func (b *bench) leave(owner string, row session.Row) {
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
		b.leave("ended", session.Row{Holder: "a", Ended: true})
		b.leave("gone", session.Row{Holder: "a"})
		b.leave("job-1", session.Row{Holder: "a", Job: "job", TTL: 90 * time.Minute})
		b.leave("old-1", session.Row{Holder: "a", Job: "old", Ended: true})
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
