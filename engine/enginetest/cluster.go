package enginetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"testing"
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

// Config describes a cluster. The zero value is one node with two CPUs.
type Config struct {
	Nodes     int                // number of nodes, with one agent each, named n1, n2, …; 0 = 1
	Resources map[string]float64 // resources of each node; by default, 2 CPUs and 1 GiB of memory
	Faults    Faults             // zero = no faults
	Registry  *engine.Registry   // functions of the agents and the driver; nil = engine.DefaultRegistry()
	Job       string             // the driver is a run of this named job, and Rerun starts the next one; "" = no job
	Logger    *slog.Logger       // log of the server, agents and sessions; nil = none
}

// The server's clock for message ages must run outside of every bubble.
func init() { ats.Register() }

// Start starts a cluster that is closed when the test ends, and returns a context that carries the
// driver's session. It runs in real time, or in the virtual time of the bubble in which Start is called.
func Start(t testing.TB, cfg Config) context.Context {
	t.Helper()
	c, err := start(t, cfg)
	if err != nil {
		t.Fatalf("enginetest: start the cluster: %v", err)
	}
	return c.with(t.Context())
}

type clusterKey struct{}

// cluster is a server, agents and a driver.
type cluster struct {
	cfg      Config
	t        testing.TB
	server   *embedded.Server
	plan     *faults.Plan     // faults of the connections; nil = none
	session  *session.Session // the driver's session
	broker   *queues.Broker   // the driver's broker; nil if it is closed
	shelf    *jetstream.Tier  // the driver's connection to the object store
	driver   *dialer          // dials the driver's connections
	restarts sync.WaitGroup   // goroutines that kill nodes by chance or start killed nodes again
	calm     chan struct{}    // closed when there are no more faults
	calming  sync.Once

	mu     sync.Mutex
	nodes  map[string]*node // guarded by mu
	closed bool             // guarded by mu
}

// node is an agent and its connections.
type node struct {
	agent  *nodeagent.Agent
	shelf  *jetstream.Tier
	broker *queues.Broker
	dialer *dialer
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
		c.restarts.Add(1)
		go c.killByChance()
	}
	return c, err
}

// startDriver opens the driver's session.
func (c *cluster) startDriver() (err error) {
	c.driver = c.dialer("driver")
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

// openShelf opens a connection to the object store. Each agent and the driver have their own, so that objects do not pass
// from one to the other in memory.
func (c *cluster) openShelf(name string, d *dialer) (*jetstream.Tier, error) {
	return jetstream.Open(c.t.Context(), queues.Config{Namespace: "tm", Client: name, Dialer: d, Logger: c.cfg.Logger}, jetstream.Config{})
}

func storeOn(shelf *jetstream.Tier) *objstore.Store {
	return objstore.NewStore(objstore.Config{Tier: shelf, Digests: true, Cache: 256 << 20})
}

// with returns a context that carries the driver's session and the cluster.
func (c *cluster) with(ctx context.Context) context.Context {
	return context.WithValue(session.With(ctx, c.session), clusterKey{}, c)
}

// Rerun ends the driver as kill -9 would, and returns the context of the next run of the Config's Job, which resumes the
// job. Refs of the former run must not be used any more.
func Rerun(ctx context.Context) context.Context {
	c := of(ctx)
	if c.cfg.Job == "" {
		c.t.Fatal("enginetest: Rerun: the Config has no Job: set one")
	}
	c.driver.cut()
	c.session.Close()
	c.shelf.Close()
	c.broker.Close()
	for err := errCut; err != nil; err = c.startDriver() { // under faults it may not succeed at once
		if c.t.Context().Err() != nil {
			c.t.Fatalf("enginetest: Rerun: start the driver again: %v", err)
		}
	}
	return c.with(ctx)
}

func (c *cluster) connect(name string, d *dialer) (*queues.Broker, error) {
	return queues.Connect(queues.Config{Namespace: "tm", Client: name, Dialer: d, Logger: c.cfg.Logger})
}

func (c *cluster) startNode(name string) error {
	n := &node{dialer: c.dialer(name)}
	var err error
	if n.broker, err = c.connect(name, n.dialer); err != nil {
		return err
	}
	if n.shelf, err = c.openShelf(name+" objects", n.dialer); err != nil {
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

// Kill ends a node's agent as kill -9 would, at once: what it has not recorded is lost, and the server redelivers its
// batches when their leases end. A second later, an agent of the same name starts, as under a supervisor. A task may call
// Kill, even for its own node: whatever the task returns then is lost.
func Kill(ctx context.Context, node string) { of(ctx).kill(node) }

// of returns the cluster of a context that Start has made, or that a task of the cluster has.
func of(ctx context.Context) *cluster {
	return ctx.Value(clusterKey{}).(*cluster) //nolint:forcetypeassert // nobody else has such a context
}

// restartAfter is how long after its death a killed node starts again.
const restartAfter = time.Second

func (c *cluster) kill(name string) {
	c.mu.Lock()
	n, closed := c.nodes[name], c.closed
	if n != nil && !closed { // a cluster that is being closed ends its nodes itself
		delete(c.nodes, name)
		c.restarts.Add(1)
	}
	c.mu.Unlock()
	if n == nil || closed {
		return
	}
	n.end()
	go c.restart(name)
}

func (n *node) end() {
	n.dialer.cut()
	n.agent.Kill()
	n.shelf.Close()
	n.broker.Close()
}

// restart starts a killed node again, after a while.
func (c *cluster) restart(name string) {
	defer c.restarts.Done()
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

// close ends everything that Start has started.
func (c *cluster) close() {
	c.becalm()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.restarts.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if c.session != nil {
		c.session.Close()
	}
	for name, n := range c.nodes {
		if err := n.agent.Close(ctx); err != nil {
			c.t.Errorf("enginetest: close the agent of %s: %v", name, err)
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

func (c *cluster) dialer(name string) *dialer {
	return &dialer{server: c.server, plan: c.plan, name: name}
}

// dialer makes the connections of one agent or driver, until they are cut for good.
type dialer struct {
	server *embedded.Server
	plan   *faults.Plan // nil = no faults
	name   string       // of the agent or driver, which the plan's decisions depend on

	mu   sync.Mutex
	open []net.Conn // guarded by mu
	dead bool       // guarded by mu
}

var errCut = errors.New("enginetest: this agent or driver was killed")

// InProcessConn makes a dialer a queues.Dialer.
func (d *dialer) InProcessConn() (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errCut
	}
	conn, err := d.server.InProcessConn()
	if err == nil && d.plan != nil {
		conn = d.plan.Conn(d.name, conn)
	}
	if err == nil {
		d.open = append(d.open, conn)
	}
	return conn, err
}

// cut closes all connections, and refuses to make another one.
func (d *dialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead = true
	for _, conn := range d.open {
		_ = conn.Close()
	}
}
