package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/queues"
)

// Config says how a session works.
type Config struct {
	Owner  string             // the session's name, fresh; "" where Job gives it
	Job    string             // a named job: what former runs of it have left is gone on with; "" = none
	Boot   string             // of the embedded server; "" = of a server that lives on its own
	Holder string             // who this is, for people who want the same job; something fresh in it
	Local  *registry.Registry // of the agent in this process; nil if there is none
	Host   Host               // the agent whose session this is; nil for a driver's
	Node   string             // of that agent

	// Nodes is the view of the nodes, which stays open. nil = the session has one of its own.
	Nodes *directory.Nodes

	Registry *registry.Registry // of this program: its functions wait for an agent where none lives
	Logger   *slog.Logger       // nil = slog.Default()

	// JobTTL is how long a job that nobody runs is kept. 0 = 7 days.
	JobTTL time.Duration

	// MaxPendingBytes bounds the inputs of open tasks whatever Pending says, so that records always find
	// room in the same server. 0 = 1 GiB.
	MaxPendingBytes int

	// Objects keeps values that are too large for messages. nil = there is no store, and they are ErrTooLarge.
	Objects *objstore.Store

	// Budget bounds the bytes that GetAll brings at once. 0 = 1 GiB.
	Budget int64

	// Full returns an error while nothing new may be submitted, since the store has little room left.
	// nil = there is always room.
	Full func() error
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MaxPendingBytes == 0 {
		c.MaxPendingBytes = 1 << 30
	}
	if c.Budget == 0 {
		c.Budget = 1 << 30
	}
	if c.JobTTL == 0 {
		c.JobTTL = 7 * 24 * time.Hour
	}
	if c.Holder == "" {
		c.Holder = rand.Text()
	}
	if c.Full == nil {
		c.Full = func() error { return nil }
	}
	return c
}

// Session submits tasks for one owner and learns what became of them. It is safe for concurrent use. It
// has three goroutines of its own: one publishes, one keeps its rows in tables, and one puts inputs together that take
// more than that. A fourth one, of the connection, folds the log.
type Session struct {
	cfg      Config
	broker   *queues.Broker
	nodes    *directory.Nodes
	deafen   func() // has nodes call no more; nil if they do not
	classes  *queues.Table
	sessions *queues.Table
	cancels  *queues.Table
	maxValue int // bytes
	values   values.Store
	scope    string // of objects; fixed once connected
	job      *job

	base   context.Context //nolint:containedctx // of the goroutines' requests; ended by Close
	cancel context.CancelFunc
	wake   chan struct{} // the run loop has something to do
	tell   chan struct{} // the keeper has something to do

	unsettled chan struct{} // there are inputs to be put together
	ended     sync.WaitGroup
	done      chan struct{} // closed when the session is broken

	mu      sync.Mutex
	me      *self                   // guarded by mu; replaced when an unnamed session takes a new name
	lease   *lease.Lease            // guarded by keeping
	graph   *graph.Graph            // guarded by mu
	open    graph.Pages[*Handle]    // guarded by mu; tasks without an outcome
	bytes   int                     // guarded by mu; of the inputs of open tasks
	number  uint64                  // guarded by mu; of the newest task
	lanes   map[laneKey]*lane       // guarded by mu
	order   []*lane                 // guarded by mu; lanes in order of making
	costs   map[string]*cost        // guarded by mu; by function
	due     dueTimes                // guarded by mu; tasks in a delay, and deadlines
	idleDue int                     // guarded by mu; how many deadlines in due are of tasks that have ended
	notes   map[uint64][]graph.Note // guarded by mu; of open tasks, for dead letters
	ends    []graph.Command         // guarded by mu; entries of the owner's own to append

	waiting   sync.Map        // of *LocalQueue by class: children that wait on this agent
	local     int             // guarded by mu; open children that are not published
	elsewhere atomic.Bool     // other agents have told of idle CPUs
	followUps []graph.Command // guarded by mu; what the step under way leaves to be done after it
	scarce    map[*Child]bool // guarded by mu; open children that may need what the tasks above them hold
	writer    string          // guarded by mu; who has written the entry that is folded

	letters  []deadLetter // guarded by mu; to be kept
	objects  objects
	settling []uint64   // guarded by mu; tasks whose inputs take more than putting them together
	awaited  []uint64   // guarded by mu; scratch
	revoked  revocation // guarded by mu; tasks that agents are to be told not to run
	heard    time.Time  // guarded by mu; when the log was last heard of
	until    time.Time  // guarded by mu; until when the lease is ours for sure
	idle     bool       // guarded by mu; the run loop sleeps

	submitting bool        // guarded by mu; who submits sees to it that what waits is sent
	silent     *time.Timer // rouses the run loop when it may have heard nothing for long
	expecting  bool        // guarded by mu; silent runs

	asleep   chan struct{}   // guarded by mu; closed when there is room for a task; nil if nobody waits
	flushes  []*flush        // guarded by mu
	flushed  uint32          // guarded by mu; how often Flush was called
	unstored int             // guarded by mu; tasks whose first dispatch is not acknowledged
	arena    []byte          // guarded by mu; where inputs are kept
	folding  bool            // guarded by mu; entries are being folded, and collections are told of what ends after some
	telling  []*Handle       // guarded by mu; of which tellTo is to be told
	tellTo   *Completions    // guarded by mu
	commands []graph.Command // guarded by mu; scratch
	forming  []*Handle       // guarded by mu; scratch
	broken   error           // guarded by mu; why the session can read its log no more, or ErrClosed
	trimmer  trimmer         // guarded by mu
	storing  time.Duration   // guarded by mu; moving mean of how long a store takes

	keeping    chan struct{} // has a token while rows are written; taken before mu. (A lock over I/O would stop virtual time.)
	rows       uint64        // guarded by keeping; how many rows of cancels were written
	renamed    int           // guarded by keeping
	reconnects uint64        // guarded by keeping; up to which one the log is known to be the one that was read
	unfinished bool          // guarded by keeping; another log was begun, and what is open is not published there yet
}

// self is what a session has under its name.
type self struct {
	owner    string
	log      *queues.Log
	follower *queues.Follower // guarded by Session.mu
	created  time.Time        // of the log's stream
	header   queues.Header    // of batches
	record   task.Record      // only fold
}

// ownerHeader names a batch's owner for those who do not decode it.
const ownerHeader = "Tm-Owner"

// Open returns a session that follows its log. That of a named job knows what former runs have left; if
// another run lives, the error is lease.ErrHeld.
func Open(ctx context.Context, b *queues.Broker, cfg Config) (*Session, error) {
	cfg = cfg.withDefaults()
	s := &Session{
		cfg: cfg, broker: b, maxValue: values.Max(b.MaxPayload()), me: &self{owner: cfg.Owner},
		wake: make(chan struct{}, 1), tell: make(chan struct{}, 1), done: make(chan struct{}),
		keeping: make(chan struct{}, 1), unsettled: make(chan struct{}, 1),
		graph: graph.New(maphash.String(maphash.MakeSeed(), cfg.Owner)),
		lanes: map[laneKey]*lane{}, scarce: map[*Child]bool{}, costs: map[string]*cost{}, notes: map[uint64][]graph.Note{},
		heard: time.Now(), storing: firstStoring, objects: objects{dropped: &dropped{}},
	}
	s.values = values.Store{Objects: cfg.Objects, Most: s.maxValue}
	if cfg.Job != "" {
		s.job = &job{open: map[task.Digest]uint64{}, equal: map[task.Digest]uint32{}, letters: map[string]*lettersKept{}}
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.silent = time.AfterFunc(time.Hour, s.silence)
	s.silent.Stop()
	if err := s.connect(ctx); err != nil {
		s.cancel()
		return nil, fmt.Errorf("session: open %s: %w", cmp.Or(cfg.Job, cfg.Owner), err)
	}
	s.ended.Go(s.run)
	s.ended.Go(s.keep)
	s.ended.Go(s.settle)
	return s, nil
}

// connect opens the tables, takes the lease, and reads the log.
func (s *Session) connect(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			s.disconnect()
		}
	}()
	for _, t := range []struct {
		table **queues.Table
		name  queues.TableName
		opts  []queues.TableOption
	}{
		{&s.classes, s.broker.Classes(), nil},
		{&s.sessions, s.broker.Sessions(), nil},
		{&s.cancels, s.broker.Cancels(), []queues.TableOption{queues.Aging(CancelsAge)}},
	} {
		if *t.table, err = s.broker.OpenTable(ctx, t.name, t.opts...); err != nil {
			return err
		}
	}
	if s.nodes = s.cfg.Nodes; s.nodes == nil {
		s.nodes, err = directory.WatchNodes(ctx, s.broker, s.cfg.Logger)
	}
	if err != nil {
		return err
	}
	if s.cfg.Host != nil {
		s.deafen = s.nodes.Notify(s.nodesChanged)
		s.nodesChanged()
	}
	as := lease.Row{Holder: s.cfg.Holder, Boot: s.cfg.Boot, Job: s.cfg.Job}
	if s.job == nil {
		s.scope = s.cfg.Owner
		if s.lease, err = lease.Take(ctx, s.sessions, s.cfg.Owner, as); err != nil {
			return err
		}
		return s.become(ctx, s.cfg.Owner)
	}
	as.TTL = s.cfg.JobTTL
	owner, lease, err := takeJob(ctx, s.broker, s.sessions, as)
	if err != nil {
		return err
	}
	s.lease, s.scope = lease, owner
	s.number = lease.Row().Run << runShift // no two runs number alike: what is cancelled by number is of one run
	return s.become(ctx, owner)
}

// runShift leaves four thousand million tasks to each run of a job.
const runShift = 32

// become takes the name: it opens the log and follows it.
func (s *Session) become(ctx context.Context, owner string) error {
	me := &self{owner: owner, header: queues.Header{ownerHeader: {owner}}}
	var err error
	if me.log, err = s.broker.OpenLog(ctx, s.broker.Log(owner)); err != nil {
		return err
	}
	stream, err := me.log.Stream(ctx)
	if err != nil {
		return err
	}
	me.created = stream.Created
	s.mu.Lock()
	s.me, s.until = me, s.lease.Until()
	s.mu.Unlock()
	if s.job != nil {
		return s.recallJob(ctx)
	}
	return s.follow(ctx)
}

// follow begins to fold the log, from its beginning.
func (s *Session) follow(ctx context.Context) error {
	me := s.self()
	follower, err := me.log.Follow(ctx, 0, func(e queues.LogEntry) { s.fold(me, e) })
	s.mu.Lock()
	defer s.mu.Unlock()
	me.follower = follower
	return err
}

// follower returns what reads the log, nil while another log is being begun.
func (s *Session) follower() *queues.Follower {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.me.follower
}

func (s *Session) self() *self {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.me
}

// disconnect ends what connect began.
func (s *Session) disconnect() {
	if f := s.follower(); f != nil {
		f.Close()
	}
	if s.deafen != nil {
		s.deafen()
	}
	if s.nodes != nil && s.nodes != s.cfg.Nodes {
		s.nodes.Close()
	}
}

// Abandon ends the session as the death of its process would: nobody is told.
func (s *Session) Abandon() {
	s.breakWith(ErrClosed)
	s.silent.Stop()
	s.cancel()
	s.ended.Wait()
	s.disconnect()
}

// Scope returns the scope of the session's objects.
func (s *Session) Scope() string { return s.scope }

// Owner returns the session's name. One that loses its lease takes another.
func (s *Session) Owner() string { return s.self().owner }

// Resumable reports whether the session is a run of a named job.
func (s *Session) Resumable() bool { return s.job != nil }

// Budget returns how many bytes may be brought at once.
func (s *Session) Budget() int64 { return s.cfg.Budget }

// Nodes returns the session's view of the nodes.
func (s *Session) Nodes() *directory.Nodes { return s.nodes }

// Done returns a channel that is closed when the session can do nothing more; Err then says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session can do nothing more: ErrClosed after Close, lease.ErrLost when another run
// of the job has taken over. nil while it works.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// silence is how long a session with open tasks hears nothing before it asks for the end of its log.
const silence = time.Second

// run publishes what waits, wakes tasks whose delay is over, appends what the owner itself decides, and
// asks when the log is silent.
func (s *Session) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.wakeDue(time.Now())
		s.appendEnds()
		s.share()
		s.publish()
		s.listen()
		timer.Reset(s.sleep(time.Now()))
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.base.Done():
			return
		}
	}
}

// sleep marks the run loop as idle, and returns for how long it may sleep.
func (s *Session) sleep(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = true
	if s.broken == nil && !now.Before(s.until) {
		return lease.Duration // without the lease nothing is sent; the keeper rouses
	}
	if s.sendable(now) || len(s.ends) > 0 {
		return 0
	}
	until := now.Add(time.Hour)
	earlier := func(t time.Time) {
		if t.Before(until) {
			until = t
		}
	}
	if s.due.Len() > 0 {
		earlier(s.due[0].at)
	}
	for _, l := range s.order {
		if l.waiting.len() > 0 && l.free() {
			if l.held(now) {
				earlier(l.hold)
			} else {
				earlier(l.retry)
			}
		}
	}
	if s.published() > 0 {
		earlier(s.heard.Add(silence))
	}
	return max(0, until.Sub(now))
}

// rouse wakes the run loop. mu is held.
func (s *Session) rouse() {
	if !s.idle {
		return
	}
	s.idle = false
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// listenLater has the run loop look in a while whether the log is silent. It may sleep for longer, and is not woken for
// what most often turns out to be nothing. mu is held.
func (s *Session) listenLater() {
	if !s.expecting {
		s.expecting = true
		s.silent.Reset(silence)
	}
}

func (s *Session) silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expecting = false
	s.rouse()
}

// listen asks for the end of the log if tasks are open and nothing was heard for a while: what was told
// may have got lost.
func (s *Session) listen() {
	now := time.Now()
	s.mu.Lock()
	quiet := s.published() > 0 && now.Sub(s.heard) >= silence
	if quiet {
		s.heard = now
	}
	s.mu.Unlock()
	if !quiet {
		return
	}
	s.nudge() // the log may be another one since a reconnect
	ctx, cancel := context.WithTimeout(s.base, silence)
	defer cancel()
	f := s.follower()
	if f == nil {
		return // another log is being begun
	}
	if err := f.Ask(ctx); err != nil && s.base.Err() == nil {
		s.cfg.Logger.Warn("session: ask for the end of the log", "owner", s.Owner(), "err", err)
	}
}

// Close ends the session: who waits for a task gets ErrClosed. A named job is handed over to its next
// run; an unnamed session ends with what it has submitted. Closing again does nothing.
func (s *Session) Close() {
	s.Abandon()
	s.leave()
}

// breakWith ends all waiting with this error; the first one stays.
func (s *Session) breakWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return
	}
	s.broken = err
	close(s.done)
	s.open.All(func(_ uint64, h *Handle) { h.end(task.Value{}, err) })
	s.open, s.local = graph.Pages[*Handle]{}, 0
	s.waiting.Clear()
	clear(s.scarce)
	for _, f := range s.flushes {
		close(f.done)
	}
	s.flushes = nil
	s.roomAgain()
}

var errVersionUnknown = errors.New("the log has records of a newer version")
