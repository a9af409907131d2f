package session

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// Config says how a session works.
type Config struct {
	Owner    string       // the session's name, fresh
	Local    *Registry    // of the agent in this process; nil if there is none
	Registry *Registry    // of this program: its functions wait for an agent where none lives
	Logger   *slog.Logger // nil = slog.Default()

	// MaxPendingBytes bounds the inputs of open tasks whatever Pending says, so that records always find
	// room in the same server. 0 = 1 GiB.
	MaxPendingBytes int
}

// Session submits tasks for one owner and learns what became of them. It is safe for concurrent use. It
// has one goroutine of its own, which publishes; a second one, of the connection, folds the log.
type Session struct {
	cfg      Config
	broker   *queues.Broker
	nodes    *directory.Nodes
	classes  *queues.Table
	log      *queues.Log
	follower *queues.Follower
	trimmer  trimmer
	maxValue int           // bytes
	header   queues.Header // of batches

	base   context.Context //nolint:containedctx // of the run loop's requests; ended by Close
	cancel context.CancelFunc
	wake   chan struct{} // the run loop has something to do
	ended  chan struct{} // closed when the run loop has ended

	mu       sync.Mutex
	graph    *graph.Graph         // guarded by mu
	open     graph.Pages[*Handle] // guarded by mu; tasks without an outcome
	bytes    int                  // guarded by mu; of the inputs of open tasks
	number   uint64               // guarded by mu; of the newest task
	lanes    map[task.Class]*lane // guarded by mu
	order    []*lane              // guarded by mu; lanes in order of making
	costs    map[string]*cost     // guarded by mu; by function
	due      dueTimes             // guarded by mu; tasks in a backoff
	heard    time.Time            // guarded by mu; when the log was last heard of
	idle     bool                 // guarded by mu; the run loop sleeps
	asleep   chan struct{}        // guarded by mu; closed when there is room for a task; nil if nobody waits
	flushes  []*flush             // guarded by mu
	unstored int                  // guarded by mu; tasks whose first dispatch is not acknowledged
	arena    []byte               // guarded by mu; where inputs are kept
	commands []graph.Command      // guarded by mu; scratch
	forming  []*Handle            // guarded by mu; scratch
	specs    []task.Spec          // guarded by mu; scratch
	calls    []task.Call          // guarded by mu; scratch
	broken   error                // guarded by mu; why the session can read its log no more, or ErrClosed
	record   task.Record          // only fold
	storing  time.Duration        // guarded by mu; moving mean of how long a store takes
}

// Open returns a session that follows its log.
func Open(ctx context.Context, b *queues.Broker, cfg Config) (*Session, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.MaxPendingBytes == 0 {
		cfg.MaxPendingBytes = 1 << 30
	}
	s := &Session{
		cfg: cfg, broker: b, maxValue: MaxValue(b.MaxPayload()),
		header: queues.Header{"Tm-Owner": {cfg.Owner}},
		wake:   make(chan struct{}, 1), ended: make(chan struct{}),
		graph: graph.New(maphash.String(maphash.MakeSeed(), cfg.Owner)),
		lanes: map[task.Class]*lane{}, costs: map[string]*cost{},
		heard: time.Now(), storing: firstStoring,
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	if err := s.connect(ctx); err != nil {
		s.cancel()
		return nil, fmt.Errorf("session: open %s: %w", cfg.Owner, err)
	}
	go s.run()
	return s, nil
}

// MaxValue returns how many bytes an input or result may have where a message may have maxPayload.
func MaxValue(maxPayload int) int { return maxPayload/2 - maxPayload/16 }

func (s *Session) connect(ctx context.Context) (err error) {
	defer func() {
		if err != nil && s.nodes != nil {
			s.nodes.Close()
		}
	}()
	if s.classes, err = s.broker.OpenTable(ctx, s.broker.Classes()); err != nil {
		return err
	}
	if s.nodes, err = directory.WatchNodes(ctx, s.broker, s.cfg.Logger); err != nil {
		return err
	}
	if s.trimmer.table, err = s.broker.OpenTable(ctx, s.broker.Sessions()); err != nil {
		return err
	}
	if s.log, err = s.broker.OpenLog(ctx, s.broker.Log(s.cfg.Owner)); err != nil {
		return err
	}
	s.follower, err = s.log.Follow(ctx, 0, s.fold)
	return err
}

// Owner returns the session's name.
func (s *Session) Owner() string { return s.cfg.Owner }

// Nodes returns the session's view of the nodes.
func (s *Session) Nodes() *directory.Nodes { return s.nodes }

// silence is how long a session with open tasks hears nothing before it asks for the end of its log.
const silence = time.Second

// run publishes what waits, wakes tasks whose backoff is over, asks when the log is silent, and tells how
// far the log may be trimmed.
func (s *Session) run() {
	defer close(s.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.publish()
		s.listen()
		s.trim()
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
	if s.sendable(now) {
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
		if len(l.waiting) > 0 && l.writing == 0 {
			earlier(l.retry)
		}
	}
	if s.open.Len() > 0 {
		earlier(s.heard.Add(silence))
	}
	if at, ok := s.trimmer.next(); ok {
		earlier(at)
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

// listen asks for the end of the log if tasks are open and nothing was heard for a while: what was told
// may have got lost.
func (s *Session) listen() {
	now := time.Now()
	s.mu.Lock()
	quiet := s.open.Len() > 0 && now.Sub(s.heard) >= silence
	if quiet {
		s.heard = now
	}
	s.mu.Unlock()
	if !quiet {
		return
	}
	ctx, cancel := context.WithTimeout(s.base, silence)
	defer cancel()
	if err := s.follower.Ask(ctx); err != nil && s.base.Err() == nil {
		s.cfg.Logger.Warn("session: ask for the end of the log", "owner", s.cfg.Owner, "err", err)
	}
}

// Close ends the session: who waits for a task gets ErrClosed. Tasks that were published may still run.
// Closing again does nothing.
func (s *Session) Close() {
	s.breakWith(ErrClosed)
	s.cancel()
	<-s.ended
	s.follower.Close()
	s.nodes.Close()
}

// breakWith ends all waiting with this error; the first one stays.
func (s *Session) breakWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return
	}
	s.broken = err
	s.open.All(func(_ uint64, h *Handle) { h.end(task.Value{}, err) })
	s.open = graph.Pages[*Handle]{}
	for _, f := range s.flushes {
		close(f.done)
	}
	s.flushes = nil
	s.roomAgain()
}

var errVersionUnknown = errors.New("the log has records of a newer version")
