package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/queues"
)

// Config says how a session works.
type Config struct {
	Owner  string // the session's name, which no other session has had; "" where Job gives it
	Job    string // a named job: the session takes over what former runs of it have left; "" = none
	Boot   string // of the embedded server; "" = of a server that lives on its own
	Holder string // who this is, for people who want the same job; unique
	Host   Host   // the agent whose session this is; nil for a driver's
	Node   string // of that agent

	// Nodes is the view of the nodes, which stays open. nil = the session has one of its own.
	Nodes *directory.Nodes

	// Registry has the functions of this program: while no agent lives, tasks of these wait for one. nil = none.
	Registry *registry.Registry

	// LocalAgent says that an agent in this process runs the functions of Registry.
	LocalAgent bool

	Logger *slog.Logger // nil = slog.Default()

	// JobTTL is how long a job that nobody runs is kept. 0 = 7 days.
	JobTTL time.Duration

	// MaxPendingBytes bounds the inputs of open tasks whatever Pending says, so that records always find
	// room in the same server. 0 = 1 GiB.
	MaxPendingBytes int

	// Objects keeps values that are too large for messages. nil = there is no store, and they are ErrTooLarge.
	Objects *objstore.Store

	// Budget bounds the bytes that GetAll fetches at once. 0 = 1 GiB.
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

// Session submits tasks for one owner and learns what became of them. It is safe for concurrent use. See the package's
// comment for its parts. It has three goroutines of its own: the publisher, the keeper and the input loader; a fourth one,
// of the connection, folds the log.
type Session struct {
	cfg     Config
	broker  *queues.Broker
	nodes   *directory.Nodes
	unwatch func() // nodes calls no more; nil if it does not
	classes *queues.Table

	base       context.Context //nolint:containedctx // of the goroutines' requests; ended by Close
	cancel     context.CancelFunc
	goroutines sync.WaitGroup
	done       chan struct{} // closed when the session is broken

	mu        sync.Mutex // the core lock
	tracker   tracker    // guarded by mu
	outbox    outbox     // guarded by mu
	publisher publisher  // guarded by mu
	children  children   // guarded by mu
	resume    *resume    // guarded by mu; nil: the session is no run of a named job
	arena     arena      // guarded by mu; where inputs are kept
	broken    error      // guarded by mu; why the session can read its log no more, or ErrClosed

	reader  logReader
	keeper  keeper
	objects objectSet
	inputs  inputLoader
	letters deadLetters
	cancels cancelRows
}

// Open returns a session that follows its log. That of a named job knows what former runs have left; if
// another run lives, the error is lease.ErrHeld.
func Open(ctx context.Context, b *queues.Broker, cfg Config) (*Session, error) {
	s := newSession(b, cfg.withDefaults())
	if err := s.connect(ctx); err != nil {
		s.cancel()
		return nil, fmt.Errorf("session: open %s: %w", cmp.Or(cfg.Job, cfg.Owner), err)
	}
	s.goroutines.Go(s.runPublisher)
	s.goroutines.Go(s.runKeeper)
	s.goroutines.Go(s.loadInputs)
	return s, nil
}

// newSession returns a session that is not connected.
func newSession(b *queues.Broker, cfg Config) *Session {
	began, wakeKeeper := time.Now(), wait.NewSignal()
	base, cancel := context.WithCancel(context.Background())
	cfg.Logger = queues.Quiet(cfg.Logger, base.Done())
	store := values.Store{Objects: cfg.Objects, Most: values.Max(b.MaxPayload())}
	s := &Session{
		cfg: cfg, broker: b, done: make(chan struct{}), base: base, cancel: cancel,
		tracker: tracker{
			graph: graph.New(maphash.String(maphash.MakeSeed(), cfg.Owner)), history: history{}, room: room{limit: cfg.MaxPendingBytes},
		},
		outbox:    newOutbox(),
		publisher: publisher{wake: wait.NewSignal()},
		children:  children{candidates: map[*Child]bool{}},
		keeper:    keeper{wake: wakeKeeper, began: began, lock: wait.NewLock()},
		inputs:    inputLoader{wake: wait.NewSignal()},
	}
	if cfg.Job != "" {
		s.resume = newResume()
	}
	s.objects = objectSet{store: store, keeper: wakeKeeper, dropped: &droppedKeys{}}
	s.cancels = cancelRows{keeper: wakeKeeper}
	s.letters = deadLetters{broker: b, reader: &s.reader, keeper: wakeKeeper, log: cfg.Logger, kept: map[string]*lettersKept{}}
	s.reader.began = began
	s.reader.current.Store(&identity{owner: cfg.Owner})
	s.reader.timer = time.AfterFunc(time.Hour, s.silenceOver)
	s.reader.timer.Stop()
	return s
}

// silenceOver has the publisher look whether the log is silent.
func (s *Session) silenceOver() {
	s.reader.expecting.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publisher.wakeUp()
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
		{&s.keeper.sessions, s.broker.Sessions(), nil},
		{&s.cancels.table, s.broker.Cancels(), []queues.TableOption{queues.Aging(CancelsAge)}},
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
		s.unwatch = s.nodes.Notify(s.nodesChanged)
		s.nodesChanged()
	}
	owner, err := s.takeName(ctx)
	if err != nil {
		return err
	}
	return s.openLog(ctx, owner)
}

// runShift leaves four thousand million tasks to each run of a job.
const runShift = 32

// takeName takes the lease of the session's name, which it returns.
func (s *Session) takeName(ctx context.Context) (owner string, err error) {
	as := lease.Row{Holder: s.cfg.Holder, Boot: s.cfg.Boot, Job: s.cfg.Job}
	k := &s.keeper
	if s.resume == nil {
		owner = s.cfg.Owner
		k.lease, err = lease.Take(ctx, k.sessions, owner, as)
	} else {
		as.TTL = s.cfg.JobTTL
		owner, k.lease, err = takeJob(ctx, s.broker, k.sessions, as)
	}
	if err != nil {
		return "", err
	}
	if s.resume != nil {
		s.tracker.number = k.lease.Row().Run << runShift // no two runs number alike: what is cancelled by number is of one run
	}
	s.objects.scope = owner
	return owner, nil
}

// disconnect ends what connect began.
func (s *Session) disconnect() {
	s.reader.close()
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.nodes != nil && s.nodes != s.cfg.Nodes {
		s.nodes.Close()
	}
}

// Abandon ends the session as the death of its process would: no row says that it has ended.
func (s *Session) Abandon() {
	s.breakWith(ErrClosed)
	s.reader.timer.Stop()
	s.cancel()
	s.goroutines.Wait()
	s.disconnect()
}

// Close ends the session: whoever waits for a task gets ErrClosed. A named job is handed over to its next
// run; an unnamed session ends with what it has submitted. Closing again does nothing.
func (s *Session) Close() {
	s.Abandon()
	s.leave()
}

// Scope returns the scope of the session's objects.
func (s *Session) Scope() string { return s.objects.scope }

// Owner returns the session's name. A session that loses its lease takes another.
func (s *Session) Owner() string { return s.reader.identity().owner }

// Resumable reports whether the session is a run of a named job.
func (s *Session) Resumable() bool { return s.resume != nil }

// Budget returns how many bytes may be fetched at once.
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

// Fail ends the session as Abandon does, but with this error and without waiting: its server can do nothing more. It is to be
// closed all the same.
func (s *Session) Fail(err error) {
	s.breakWith(err)
	s.cancel()
}

// whileOpen makes a call that talks to the server on behalf of a user. Its context ends when the session is closed, and from
// then on the error of what fails is the session's: what the connection or the store says of it is of no use to the user.
func (s *Session) whileOpen(ctx context.Context, call func(ctx context.Context) error) error {
	if s.base.Err() == nil { // what needs no connection can be had afterwards, too
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.base, cancel)()
	}
	err := call(ctx)
	if err != nil {
		if broken := s.Err(); broken != nil {
			return broken
		}
	}
	return err
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
	s.tracker.endAll(err)
	s.children.clear()
}
