package nodeagent

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/queues"
)

// janitor removes what owners say they do not need any more, and what sessions have left whose leases ended long ago.
// Sessions themselves remove no streams, logs or rows. Every agent has a janitor; the one that holds the janitor's lease
// works. It belongs to the maintenance goroutine, but for the rows, which mu guards: the connection's goroutines bring them.
type janitor struct {
	cfg    Config
	broker *queues.Broker
	log    *slog.Logger
	lease  *lease.Lease // only the maintenance goroutine; nil while another agent may hold it
	holder string
	tried  time.Time // only the maintenance goroutine; when it last tried to take the lease
	swept  time.Time // only the maintenance goroutine; when exports and nodes were last looked at

	sessions, nodes, leases, jobs, exports *queues.Table

	mu    sync.Mutex
	seen  map[string]*seen // guarded by mu; sessions by owner
	peers map[string]*seen // guarded by mu; nodes
}

// seen is a row, and since when it has not changed, by this process's clock.
type seen struct {
	row     queues.Row
	since   time.Time
	trimmed uint64 // of sessions: the log is trimmed up to this sequence
	purged  int    // of sessions that have ended: how often the log was purged
}

// How long the janitor waits before it removes something.
const (
	goneAfter = 2 * lease.Duration // a session that does not renew its lease
	keepEnded = time.Hour          // the row of a session that has ended: its batches may still be pulled, and recorded
	sweep     = 5 * time.Second    // between looks at exports and nodes, and between tries to take the lease
)

func newJanitor(b *queues.Broker, cfg Config) *janitor {
	return &janitor{
		cfg: cfg, broker: b, log: cfg.Logger, holder: cfg.NodeID + " " + rand.Text(),
		seen: map[string]*seen{}, peers: map[string]*seen{},
	}
}

func (j *janitor) open(ctx context.Context) (err error) {
	for _, t := range []struct {
		table **queues.Table
		name  queues.TableName
	}{{&j.sessions, j.broker.Sessions()}, {&j.nodes, j.broker.Nodes()}, {&j.leases, j.broker.Leases()}, {&j.jobs, j.broker.Jobs()}, {&j.exports, j.broker.Exports()}} {
		if *t.table, err = j.broker.OpenTable(ctx, t.name); err != nil {
			return err
		}
	}
	return nil
}

// session is called with each row of the table of sessions.
func (j *janitor) session(row queues.Row) { j.saw(j.seen, row) }

// node is called with each row of the table of nodes.
func (j *janitor) node(row queues.Row) { j.saw(j.peers, row) }

func (j *janitor) saw(rows map[string]*seen, row queues.Row) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if row.Deleted {
		delete(rows, row.Key)
		return
	}
	s := rows[row.Key]
	if s == nil {
		s = &seen{}
		rows[row.Key] = s
	}
	if s.row.Revision != row.Revision {
		s.row, s.since = row, time.Now()
	}
}

// work does what is to be done now, if this agent holds the janitor's lease.
func (j *janitor) work(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lease.Duration/3)
	defer cancel()
	if !j.holds(ctx) {
		return
	}
	for owner, s := range j.rows(j.seen) {
		var r lease.Row
		if json.Unmarshal(s.row.Value, &r) != nil {
			continue
		}
		if err := j.tidy(ctx, owner, s, r); err != nil && ctx.Err() == nil {
			j.log.Warn("nodeagent: remove what a session has left; trying again", "owner", owner, "err", err)
		}
	}
	if time.Since(j.swept) < sweep {
		return
	}
	j.swept = time.Now()
	if err := j.expire(ctx); err != nil && ctx.Err() == nil {
		j.log.Warn("nodeagent: remove expired exports; trying again", "err", err)
	}
	for node, s := range j.rows(j.peers) {
		if node == j.cfg.NodeID || time.Since(s.since) < 2*directory.LifeTime && !j.otherBoot(s.row) {
			continue
		}
		if err := j.nodes.Delete(ctx, node); err != nil && ctx.Err() == nil {
			j.log.Warn("nodeagent: remove the row of a node that is gone", "node", node, "err", err)
		}
	}
}

// expire removes exported values that have expired.
func (j *janitor) expire(ctx context.Context) error {
	rows, err := j.exports.All(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		var e session.Exported
		if !session.IsToken(row.Key) || json.Unmarshal(row.Value, &e) != nil || !e.Over(row.Written) {
			continue
		}
		if j.cfg.Objects != nil {
			err = j.cfg.Objects.RemoveScope(ctx, row.Key)
		}
		if err == nil {
			err = j.exports.Delete(ctx, row.Key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (j *janitor) otherBoot(row queues.Row) bool {
	var n directory.Node
	return json.Unmarshal(row.Value, &n) == nil && n.Boot != j.cfg.Boot
}

func (j *janitor) rows(of map[string]*seen) map[string]*seen {
	j.mu.Lock()
	defer j.mu.Unlock()
	rows := make(map[string]*seen, len(of))
	for key, s := range of {
		copied := *s
		rows[key] = &copied
	}
	return rows
}

// holds takes or renews the janitor's lease, and reports whether this agent has it. While another agent has it, it is tried
// every few seconds.
func (j *janitor) holds(ctx context.Context) bool {
	now := time.Now()
	if j.lease != nil && time.Until(j.lease.Until()) > 2*lease.Duration/3 {
		return true
	}
	if j.lease != nil {
		err := j.lease.Renew(ctx, func(*lease.Row) {})
		if errors.Is(err, lease.ErrLost) {
			j.lease = nil
			return false
		}
		return j.lease.Valid(now)
	}
	if now.Sub(j.tried) < sweep && !j.tried.IsZero() {
		return false
	}
	j.tried = now
	l, err := lease.Try(ctx, j.leases, "janitor", lease.Row{Holder: j.holder, Boot: j.cfg.Boot})
	if err != nil {
		if !errors.Is(err, lease.ErrHeld) && ctx.Err() == nil {
			j.log.Warn("nodeagent: take the janitor's lease; trying again", "node", j.cfg.NodeID, "err", err)
		}
		return false
	}
	j.lease = l
	return true
}

// tidy removes what the row of a session says is not needed any more.
func (j *janitor) tidy(ctx context.Context, owner string, s *seen, r lease.Row) error {
	switch {
	case r.Ended && s.purged == 0:
		return j.purge(ctx, owner, r)
	case r.Ended && time.Since(s.since) > keepEnded:
		return j.remove(ctx, owner, s, r)
	case r.Ended:
	case j.forgotten(s, r):
		r.Ended, r.Holder = true, ""
		value, err := json.Marshal(r)
		if err == nil {
			_, err = j.sessions.Update(ctx, owner, value, s.row.Revision)
		}
		if errors.Is(err, queues.ErrRevision) {
			return nil // somebody has renewed it after all
		}
		return err
	case r.Trimmed != s.trimmed: // it is less than before if the session has withdrawn it
		return j.trim(ctx, owner, r)
	}
	return nil
}

// forgotten reports whether nobody will resume the session.
func (j *janitor) forgotten(s *seen, r lease.Row) bool {
	gone := r.Boot != j.cfg.Boot || time.Since(s.since) > goneAfter || r.Holder == ""
	if r.Job == "" {
		return gone
	}
	return gone && r.TTL > 0 && time.Since(s.row.Written) > r.TTL
}

// purge removes the log and the objects of a session that has ended.
func (j *janitor) purge(ctx context.Context, owner string, r lease.Row) error {
	log, err := j.broker.OpenLog(ctx, j.broker.Log(owner))
	if err == nil {
		err = log.Purge(ctx)
	}
	if scope := cmp.Or(r.Scope, owner); err == nil && j.cfg.Objects != nil && !j.inUse(owner, scope) {
		err = j.cfg.Objects.RemoveScope(ctx, scope)
	}
	if err == nil {
		j.done(owner, func(s *seen) { s.purged++ })
	}
	return err
}

// inUse reports whether another session that has not ended has its objects under this scope: one that has taken a new name.
func (j *janitor) inUse(owner, scope string) bool {
	for other, s := range j.rows(j.seen) {
		var r lease.Row
		if other != owner && json.Unmarshal(s.row.Value, &r) == nil && !r.Ended && cmp.Or(r.Scope, other) == scope {
			return true
		}
	}
	return false
}

// remove removes the row of a session that has ended, and entries that came late to its log. The row of a named job's session
// stays until the job has another incarnation, since it says that this one has ended.
func (j *janitor) remove(ctx context.Context, owner string, s *seen, r lease.Row) error {
	if s.purged == 1 {
		return j.purge(ctx, owner, r)
	}
	if r.Job != "" {
		present, err := session.Incarnation(ctx, j.jobs, r.Job)
		if err != nil || present == owner {
			return err
		}
	}
	return j.sessions.Delete(ctx, owner)
}

// trim removes the part of an owner's log that everybody has read who will read it, if the row is about this stream, and not
// about an earlier one of the same name.
func (j *janitor) trim(ctx context.Context, owner string, r lease.Row) error {
	log, err := j.broker.OpenLog(ctx, j.broker.Log(owner))
	if err != nil {
		return err
	}
	stream, err := log.Stream(ctx)
	if err != nil {
		return err
	}
	last, err := log.Last(ctx)
	if err != nil {
		return err
	}
	if 0 < r.Trimmed && r.Trimmed <= last && r.Created.Equal(stream.Created) {
		if err := log.Trim(ctx, r.Trimmed); err != nil {
			return err
		}
	}
	j.done(owner, func(s *seen) { s.trimmed = r.Trimmed })
	return nil
}

func (j *janitor) done(owner string, note func(*seen)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s := j.seen[owner]; s != nil {
		note(s)
	}
}
