package nodeagent

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/queues"
)

// recorder appends entries to the logs of their owners, and acks a batch when all of it is recorded.
// Entries that end while a record is on its way go together into the next one. Otherwise an entry waits
// for others of its batch while those run, for at most maxWait.
type recorder struct {
	broker    *queues.Broker
	node      string
	log       *slog.Logger
	maxRecord int          // bytes
	recorded  func(*batch) // called when all of a batch is recorded; mu is not held
	resume    func()       // called when records are taken again, or all is recorded that settled was asked about; mu is not held

	stall atomic.Bool // the server has refused a record: nothing new is to be started

	mu       sync.Mutex
	owners   map[string]*pending // guarded by mu
	last     *pending            // guarded by mu; one of owners
	closed   bool                // guarded by mu
	settling bool                // guarded by mu; resume is to be called when nothing is pending
	idle     wait.Broadcast      // guarded by mu; when nothing is pending
}

// pending is what is to be recorded for one owner.
type pending struct {
	r     *recorder
	owner string
	log   *queues.Log // nil until first used

	entries task.RecordWriter // guarded by recorder.mu
	spare   task.RecordWriter // guarded by recorder.mu; memory for entries
	shares  []share           // guarded by recorder.mu; of entries
	sealed  []*record         // guarded by recorder.mu; full records that wait to be sent
	busy    bool              // guarded by recorder.mu; a record is on its way
	hurry   bool              // guarded by recorder.mu; entries are to be sent when not busy
	timer   *time.Timer       // fires maxWait after the first entry
	armed   bool              // guarded by recorder.mu
	used    time.Time         // guarded by recorder.mu
}

// share says how many entries of a record belong to a batch.
type share struct {
	batch *batch
	n     int64
}

// record is a full record. Whoever sends it first encodes it: slots that add entries do not wait for that.
type record struct {
	entries task.RecordWriter
	data    []byte // nil before it is first sent
	shares  []share
}

const (
	maxEntries  = 8 << 10              // of a record; readers refuse more than task.MaxSpecs
	forgetAfter = time.Minute          // an owner without a new entry
	maxWait     = 4 * time.Millisecond // of an entry for others of its batch
	goodRecord  = 64 << 10             // bytes; a record of this size is sent at once
	refusedWait = 250 * time.Millisecond
)

func newRecorder(b *queues.Broker, cfg Config, recorded func(*batch), resume func()) *recorder {
	return &recorder{
		broker: b, node: cfg.NodeID, log: cfg.Logger, recorded: recorded, resume: resume, owners: map[string]*pending{},
		maxRecord: b.MaxPayload() / 2,
	}
}

// stalled reports whether records are refused: what was started ends, and nothing more is started.
func (r *recorder) stalled() bool { return r.stall.Load() }

// add records an entry of the batch, soon. The entry is encoded at once and may be used again.
func (r *recorder) add(b *batch, e *task.Entry) {
	r.mu.Lock()
	out := r.addLocked(b, e)
	r.mu.Unlock()
	out.send()
}

// addLocked is add without the sending.
func (r *recorder) addLocked(b *batch, e *task.Entry) outgoing {
	if r.closed {
		return outgoing{}
	}
	p := r.ownerLocked(b.Owner)
	if p.entries.Len() >= maxEntries || p.entries.Len() > 0 && !p.entries.Fits(e, r.maxRecord) {
		p.sealLocked()
	}
	if p.entries.Len() == 0 {
		p.used = time.Now()
	}
	p.entries.Add(e)
	p.share(b)
	switch {
	case b.unstarted() == 0 || p.entries.Size() >= goodRecord:
		p.hurry = true
		return p.nextLocked()
	case !p.armed:
		p.armed = true
		p.timer.Reset(maxWait)
	}
	return outgoing{}
}

// ownerLocked returns what is to be recorded for an owner: most often the owner of the last entry.
func (r *recorder) ownerLocked(owner string) *pending {
	if r.last != nil && r.last.owner == owner {
		return r.last
	}
	p := r.owners[owner]
	if p == nil {
		p = r.newPending(owner)
	}
	r.last = p
	return p
}

func (r *recorder) newPending(owner string) *pending {
	p := &pending{r: r, owner: owner}
	p.timer = time.AfterFunc(time.Hour, p.waited)
	p.timer.Stop()
	r.owners[p.owner] = p
	return p
}

func (p *pending) share(b *batch) {
	if last := len(p.shares) - 1; last >= 0 && p.shares[last].batch == b {
		p.shares[last].n++
		return
	}
	p.shares = append(p.shares, share{b, 1})
}

// waited is called when entries have waited for maxWait.
func (p *pending) waited() {
	p.r.mu.Lock()
	p.armed = false
	p.hurry = p.entries.Len() > 0
	out := p.nextLocked()
	p.r.mu.Unlock()
	out.send()
}

// sealLocked makes a record of the entries.
func (p *pending) sealLocked() {
	p.sealed = append(p.sealed, &record{entries: p.entries, shares: p.shares})
	p.entries, p.spare = p.spare, task.RecordWriter{}
	p.shares, p.hurry = nil, false
}

// outgoing is a record that is to be sent; the zero value is none.
type outgoing struct {
	*pending
	*record
}

// nextLocked returns the next record, if none is on its way. Whoever holds recorder.mu sends the record after giving it up:
// the connection may be busy for a while, and slots are not to wait for it.
func (p *pending) nextLocked() outgoing {
	if p.busy || p.r.closed {
		return outgoing{}
	}
	if len(p.sealed) == 0 {
		if !p.hurry {
			return outgoing{}
		}
		p.sealLocked()
	}
	if p.log == nil {
		p.log = p.r.broker.LogHandle(p.r.broker.Log(p.owner)) // the agent has made the stream
	}
	p.busy = true
	return outgoing{p, p.sealed[0]}
}

func (o outgoing) send() {
	if o.pending == nil {
		return
	}
	if o.data == nil {
		o.data = o.record.entries.Append(nil, o.r.node, o.owner)
	}
	failpoint.Hit("record.before")
	o.log.Send(queues.Message{Data: o.data}, func(_ uint64, err error) { o.sent(o.record, err) })
}

func sendAll(out []outgoing) {
	for _, o := range out {
		o.send()
	}
}

// sent takes the server's answer to a record. When it is stored, batches of which nothing is left are
// acked. Until then they are not: a refused record is sent again, and if this process ends first, the server redelivers
// the batch.
func (p *pending) sent(rec *record, err error) {
	p.r.mu.Lock()
	p.busy = false
	if err != nil {
		p.refusedLocked(err)
		p.r.mu.Unlock()
		return
	}
	failpoint.Hit("record.after")
	p.sealed = p.sealed[1:]
	p.spare = rec.entries
	p.spare.Reset()
	if len(p.sealed) == 0 {
		p.sealed = nil
	}
	next := p.nextLocked()
	if !p.r.anyPendingLocked() {
		p.r.idle.Wake()
	}
	resume := p.r.stall.CompareAndSwap(true, false)
	if p.r.settling && !p.r.anyPendingLocked() {
		p.r.settling, resume = false, true
	}
	p.r.mu.Unlock()
	next.send()
	for _, s := range rec.shares {
		if s.batch.left.Add(-s.n) == 0 {
			p.r.recorded(s.batch)
		}
	}
	if resume {
		p.r.resume()
	}
}

// refusedLocked stalls the agent and tries again later.
func (p *pending) refusedLocked(err error) {
	if errors.Is(err, queues.ErrClosed) {
		return
	}
	p.r.stall.Store(true)
	p.r.log.Warn("nodeagent: the server refused a record; trying again, and starting nothing meanwhile", "owner", p.owner, "err", err)
	p.armed = true
	p.timer.Reset(refusedWait)
}

// prune forgets owners without a new entry for a while.
func (r *recorder) prune() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for owner, p := range r.owners {
		if !p.pending() && time.Since(p.used) > forgetAfter {
			p.timer.Stop()
			delete(r.owners, owner)
			r.last = nil
		}
	}
}

func (p *pending) pending() bool { return p.busy || len(p.sealed) > 0 || p.entries.Len() > 0 }

// anyPendingLocked reports whether something is not recorded.
func (r *recorder) anyPendingLocked() bool {
	for _, p := range r.owners {
		if p.pending() {
			return true
		}
	}
	return false
}

// settled reports whether all that was added is recorded. If not, it is sent at once, and resume is called when it is
// recorded.
func (r *recorder) settled() bool {
	r.mu.Lock()
	var out []outgoing
	if r.settling = r.anyPendingLocked(); r.settling {
		out = r.hurryAllLocked()
	}
	done := !r.settling
	r.mu.Unlock()
	sendAll(out)
	return done
}

// hurryAllLocked returns the records of all entries that wait for others.
func (r *recorder) hurryAllLocked() (out []outgoing) {
	for _, p := range r.owners {
		p.hurry = p.entries.Len() > 0
		out = append(out, p.nextLocked())
	}
	return out
}

// flush returns when everything added before is recorded, or the recorder is closed.
func (r *recorder) flush() {
	r.mu.Lock()
	idle := r.idle.C()
	var out []outgoing
	if !r.closed {
		out = r.hurryAllLocked()
	}
	if r.closed || !r.anyPendingLocked() {
		r.idle.Wake()
	}
	r.mu.Unlock()
	sendAll(out)
	<-idle
}

// close drops what is pending.
func (r *recorder) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, p := range r.owners {
		p.timer.Stop()
	}
	r.idle.Wake()
}
