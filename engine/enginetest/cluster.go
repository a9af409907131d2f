package enginetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/faults"
	"github.com/tidemill/tidemill/nodeagent"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/jetstream"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// Config says what the cluster has. The zero value is one node of two CPUs.
type Config struct {
	Nodes     int                // agents, named n1, n2, …; 0 = 1
	Resources map[string]float64 // of each node; over 2 CPUs and 1 GiB of memory
	Faults    Faults             // none if zero
	Registry  *engine.Registry   // nil = engine.DefaultRegistry()
	Job       string             // the driver is a run of this named job, and Rerun makes the next one
	Logger    *slog.Logger       // of agents and sessions, which under faults have much to say; nil = nowhere
}

// The server's clock for message ages ticks outside of every bubble.
func init() { ats.Register() }

// Run runs the test in virtual time, in a bubble of testing/synctest, with a cluster that is closed at
// its end: no subtests, sockets or child processes in it, and no t.Parallel (bubbles would share timers
// that nats.go keeps). The context carries the driver's session.
// Time passes when everybody waits, so CPU work takes none of it, and a measured run time of 0 is normal.
func Run(t *testing.T, cfg Config, test func(t *testing.T, ctx context.Context)) {
	t.Helper()
	emptyPools()
	synctest.Test(t, func(t *testing.T) { test(t, Start(t, cfg)) })
}

// emptyPools has the collector empty all pools: nats.go keeps timers in one, and a timer of another bubble
// must not come into this one. (An item lives through one collection.)
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// Start starts a cluster that is closed when the test ends, and returns a context that carries the
// driver's session. Time is the real one, or that of the bubble in which it is called.
func Start(t testing.TB, cfg Config) context.Context {
	t.Helper()
	c, err := start(t, cfg)
	if err != nil {
		t.Fatalf("enginetest: start: %v", err)
	}
	return c.with(t.Context())
}

type clusterKey struct{}

// cluster is a server, agents and a driver.
type cluster struct {
	cfg     Config
	t       testing.TB
	server  *embedded.Server
	plan    *faults.Plan // nil if there are no faults
	session *session.Session
	broker  *queues.Broker  // of the session
	shelf   *jetstream.Tier // of the session
	driver  *wires          // of the session
	again   sync.WaitGroup  // agents that are to come up again, and the killer
	calm    chan struct{}   // closed when faults are over
	calming sync.Once

	mu     sync.Mutex
	nodes  map[string]*node // guarded by mu
	closed bool             // guarded by mu
}

// node is an agent and its connection.
type node struct {
	agent  *nodeagent.Agent
	shelf  *jetstream.Tier
	broker *queues.Broker
	wires  *wires
}

func start(t testing.TB, cfg Config) (*cluster, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 1
	}
	if cfg.Registry == nil {
		cfg.Registry = engine.DefaultRegistry()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	resources := map[string]float64{task.CPU: 2, task.Memory: 1 << 30}
	maps.Copy(resources, cfg.Resources)
	cfg.Resources = resources
	server, err := embedded.Start(embedded.Config{Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	c := &cluster{cfg: cfg, t: t, server: server, nodes: map[string]*node{}, calm: make(chan struct{})}
	t.Cleanup(c.close)
	c.plan = cfg.Faults.plan(t)
	for i := range cfg.Nodes {
		if err := c.startNode(fmt.Sprintf("n%d", i+1)); err != nil {
			return nil, err
		}
	}
	err = c.startDriver()
	if c.plan != nil {
		c.plan.On()
	}
	if cfg.Faults.Kill > 0 && err == nil {
		c.again.Add(1)
		go c.killing()
	}
	return c, err
}

// startDriver opens the driver's session.
func (c *cluster) startDriver() (err error) {
	c.driver = c.wires("driver")
	if c.broker, err = c.connect("driver", c.driver); err != nil {
		return err
	}
	cfg := session.Config{Owner: "driver", Job: c.cfg.Job, Registry: c.cfg.Registry, Logger: c.cfg.Logger}
	if c.shelf, err = c.openShelf("driver objects", c.driver); err != nil {
		c.broker.Close()
		c.broker = nil
		return err
	}
	cfg.Objects = storeOn(c.shelf)
	if cfg.Job != "" {
		cfg.Owner = ""
	}
	if c.session, err = session.Open(c.t.Context(), c.broker, cfg); err != nil {
		c.shelf.Close()
		c.broker.Close()
		c.broker = nil
	}
	return err
}

// openShelf opens a participant's own way to the objects: nobody shares memory with another here.
func (c *cluster) openShelf(name string, w *wires) (*jetstream.Tier, error) {
	return jetstream.Open(c.t.Context(), queues.Config{Namespace: "tm", Client: name, Dialer: w, Logger: c.cfg.Logger}, jetstream.Config{})
}

func storeOn(shelf *jetstream.Tier) *objstore.Store {
	return objstore.NewStore(objstore.Config{Tier: shelf, Digests: true, Cache: 256 << 20})
}

// with returns the context of the driver.
func (c *cluster) with(ctx context.Context) context.Context {
	return context.WithValue(session.With(ctx, c.session), clusterKey{}, c)
}

// Rerun ends the driver as kill -9 would, and returns the context of the next run of the Config's Job, which
// goes on with what this one has left. Refs of the former run are of no use any more.
func Rerun(ctx context.Context) context.Context {
	c := ctx.Value(clusterKey{}).(*cluster) //nolint:forcetypeassert // a context of Start
	if c.cfg.Job == "" {
		c.t.Fatal("enginetest: Rerun: the Config has no Job")
	}
	c.driver.cut()
	c.session.Close()
	c.shelf.Close()
	c.broker.Close()
	for err := errCut; err != nil; err = c.startDriver() { // under faults it may not succeed at once
		if c.t.Context().Err() != nil {
			c.t.Fatalf("enginetest: Rerun: %v", err)
		}
	}
	return c.with(ctx)
}

func (c *cluster) connect(name string, w *wires) (*queues.Broker, error) {
	return queues.Connect(queues.Config{Namespace: "tm", Client: name, Dialer: w, Logger: c.cfg.Logger})
}

func (c *cluster) startNode(name string) error {
	n := &node{wires: c.wires(name)}
	var err error
	if n.broker, err = c.connect(name, n.wires); err != nil {
		return err
	}
	if n.shelf, err = c.openShelf(name+" objects", n.wires); err != nil {
		n.broker.Close()
		return err
	}
	resources, err := task.NewResources(c.cfg.Resources)
	if err == nil {
		n.agent, err = nodeagent.Start(c.t.Context(), n.broker, nodeagent.Config{
			NodeID: name, Resources: resources, Registry: c.cfg.Registry, Logger: c.cfg.Logger, Objects: storeOn(n.shelf),
			Values: context.WithValue(context.Background(), clusterKey{}, c),
		})
	}
	if err != nil {
		n.shelf.Close()
		n.broker.Close()
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = n
	return nil
}

// Kill ends a node's agent as kill -9 would, at once: what it has done and not recorded is lost, what it
// holds comes to others when its leases end. A second later, an agent of the same name starts again, as a
// supervisor would see to. It may be called from a task, also from one of that node: whatever the task
// returns, nobody hears of it.
func Kill(ctx context.Context, node string) {
	c := ctx.Value(clusterKey{}).(*cluster) //nolint:forcetypeassert // a context of Start, or of one of its tasks
	c.kill(node)
}

// restartAfter is how long a killed node is away.
const restartAfter = time.Second

func (c *cluster) kill(name string) {
	c.mu.Lock()
	n, closed := c.nodes[name], c.closed
	if n != nil && !closed { // else close ends it
		delete(c.nodes, name)
		c.again.Add(1)
	}
	c.mu.Unlock()
	if n == nil || closed {
		return // it is dead already
	}
	n.end()
	go c.comeAgain(name)
}

func (n *node) end() {
	n.wires.cut()
	n.agent.Kill()
	n.shelf.Close()
	n.broker.Close()
}

// comeAgain starts a killed node anew.
func (c *cluster) comeAgain(name string) {
	defer c.again.Done()
	timer := time.NewTimer(restartAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.t.Context().Done():
		return
	}
	for err := errCut; err != nil && c.t.Context().Err() == nil; {
		err = c.startNode(name) // under faults it may not succeed at once
	}
}

// close ends all that Start has started.
func (c *cluster) close() {
	c.becalm()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.again.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if c.session != nil {
		c.session.Close()
	}
	for name, n := range c.nodes {
		if err := n.agent.Close(ctx); err != nil {
			c.t.Errorf("enginetest: close %s: %v", name, err)
		}
		n.shelf.Close()
		n.broker.Close()
	}
	if c.broker != nil {
		c.shelf.Close()
		c.broker.Close()
	}
	c.server.Close()
}

func (c *cluster) wires(name string) *wires { return &wires{to: c.server, plan: c.plan, name: name} }

// wires are the connections of one participant, which can be cut for good.
type wires struct {
	to   *embedded.Server
	plan *faults.Plan
	name string

	mu   sync.Mutex
	open []net.Conn // guarded by mu
	dead bool       // guarded by mu
}

var errCut = errors.New("enginetest: this node was killed")

// InProcessConn makes wires a queues.Dialer.
func (w *wires) InProcessConn() (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, errCut
	}
	conn, err := w.to.InProcessConn()
	if err == nil && w.plan != nil {
		conn = w.plan.Conn(w.name, conn)
	}
	if err == nil {
		w.open = append(w.open, conn)
	}
	return conn, err
}

// cut closes the connections, and lets no other be made.
func (w *wires) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = true
	for _, conn := range w.open {
		_ = conn.Close()
	}
}
