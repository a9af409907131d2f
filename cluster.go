package tidemill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/nodeagent"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/jetstream"
	"github.com/tidemill/tidemill/objstore/memory"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// Cluster is an open cluster: an embedded server, an agent, and a session for what this program submits.
// It is safe for concurrent use.
type Cluster struct {
	server  *embedded.Server
	brokers []*queues.Broker // one writer a connection: the agent's and the session's
	agent   *nodeagent.Agent // nil if there is none
	session *session.Session
	job     string          // "" = none
	objects *objstore.Store // of values that are too large for messages
	shelf   *jetstream.Tier // that the store is on; nil if it is on memory

	once sync.Once
	err  error // of Close; set by once
}

// Open starts what cfg says and returns when tasks can be submitted. ctx bounds the starting.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("tidemill: open: %w", err)
	}
	c := &Cluster{}
	if err := c.open(ctx, cfg); err != nil {
		_ = c.Close(ctx)
		return nil, fmt.Errorf("tidemill: open: %w", err)
	}
	return c, nil
}

func (c *Cluster) open(ctx context.Context, cfg Config) (err error) {
	memory := int64(totalMemory() / 4)
	c.server, err = embedded.Start(embedded.Config{
		Listen: cfg.Listen, Dir: cfg.Dir, Limit: cfg.Limit, Sync: cfg.Sync, Memory: memory, Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	broker, err := c.connect(cfg, "session")
	if err != nil {
		return err
	}
	if c.objects, err = c.openObjects(ctx, cfg); err != nil {
		return err
	}
	sessionConfig := session.Config{
		Objects: c.objects, Budget: cfg.Budget,
		Owner: freshName(), Job: cfg.Job, JobTTL: cfg.JobTTL, Boot: c.server.Boot(), Holder: holder(),
		Registry: cfg.Registry, Logger: cfg.Logger, MaxPendingBytes: int(memory / 2), Full: c.full,
	}
	if cfg.Agent == AgentOn {
		sessionConfig.Local = cfg.Registry
	}
	c.job = cfg.Job
	// A job knows what its former runs have left before an agent of this process goes on with it.
	if c.session, err = session.Open(ctx, broker, sessionConfig); err != nil || cfg.Agent != AgentOn {
		return err
	}
	return c.startAgent(ctx, cfg)
}

// openObjects returns the store of large values. Those of a named job outlive this process, as its tasks do.
func (c *Cluster) openObjects(ctx context.Context, cfg Config) (*objstore.Store, error) {
	if cfg.Job == "" {
		return objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{Limit: cfg.ObjectMemory})}), nil
	}
	var err error
	c.shelf, err = jetstream.Open(ctx, c.connection(cfg, "objects"), jetstream.Config{})
	if err != nil {
		return nil, err
	}
	return objstore.NewStore(objstore.Config{Tier: c.shelf, Digests: true, Cache: cfg.ObjectMemory}), nil
}

// Objects says what the store of large values has done so far: how many were put, and how many of them were there
// already.
func (c *Cluster) Objects() objstore.Stats { return c.objects.Stats() }

// full returns why nothing new may be submitted, nil if there is room.
func (c *Cluster) full() error {
	if err := c.server.Full(); err != nil {
		return fmt.Errorf("%w: %w", values.ErrStorageFull, err)
	}
	return nil
}

func (c *Cluster) startAgent(ctx context.Context, cfg Config) error {
	broker, err := c.connect(cfg, "agent")
	if err != nil {
		return err
	}
	resources, err := task.NewResources(cfg.Resources)
	if err != nil {
		return err
	}
	c.agent, err = nodeagent.Start(ctx, broker, nodeagent.Config{
		NodeID: cfg.NodeID, Resources: resources, Registry: cfg.Registry, Logger: cfg.Logger,
		Boot: c.server.Boot(), Durable: cfg.Dir != "", Unclean: c.server.Unclean(), Objects: c.objects,
	})
	return err
}

func (c *Cluster) connection(cfg Config, client string) queues.Config {
	storage := queues.Memory
	if cfg.Dir != "" {
		storage = queues.Files
	}
	return queues.Config{
		Namespace: cfg.Namespace, Client: "tidemill-" + client, Dialer: c.server, Storage: storage, Logger: cfg.Logger,
	}
}

func (c *Cluster) connect(cfg Config, client string) (*queues.Broker, error) {
	broker, err := queues.Connect(c.connection(cfg, client))
	if err == nil {
		c.brokers = append(c.brokers, broker)
	}
	return broker, err
}

// freshName returns a name that no other session has.
func freshName() string { return "s-" + strings.ToLower(rand.Text()) }

// holder says who this process is, to people who want the same job, and is unique.
func holder() string {
	host, _ := os.Hostname() // for people
	return fmt.Sprintf("%s, process %d on %s (%s)", program(), os.Getpid(), host, strings.ToLower(rand.Text()))
}

// Context returns a context that carries the cluster's session: functions submitted with it run here.
func (c *Cluster) Context(ctx context.Context) context.Context { return session.With(ctx, c.session) }

// URL returns where any NATS client connects, "" if the cluster listens to this process alone.
func (c *Cluster) URL() string { return c.server.URL() }

// End says that nothing of this run is wanted any more: a named job ends, and its next run begins anew.
// What was not finished is cancelled. Main does so when run returns nil. The cluster is to be closed then.
func (c *Cluster) End(ctx context.Context) error {
	if err := c.session.End(ctx); err != nil {
		return fmt.Errorf("tidemill: %w", err)
	}
	return nil
}

// Close stops all that Open started. A named job can be resumed afterwards, unless End came before: what
// runs is waited for and recorded, and what was not started is handed to the next run. Any other run ends:
// what it left is cancelled, and what runs has its context cancelled, and is waited for. Who waits for a
// task without an outcome gets engine.ErrClosed. If ctx ends before what runs has ended, an error says
// how many tasks were left behind. Closing again returns what the first Close did.
func (c *Cluster) Close(ctx context.Context) error {
	c.once.Do(func() { c.err = c.close(ctx) })
	return c.err
}

func (c *Cluster) close(ctx context.Context) error {
	var errs []error
	if c.session != nil && c.job == "" {
		errs = append(errs, c.session.End(ctx))
	}
	if c.agent != nil {
		err := c.agent.Close(ctx)
		if err != nil {
			c.server.MarkUnclean() // what was left behind had begun
		}
		errs = append(errs, err)
	}
	if c.session != nil {
		c.session.Close()
	}
	if c.shelf != nil {
		c.shelf.Close()
	}
	for _, b := range c.brokers {
		b.Close()
	}
	if c.server != nil {
		c.server.Close()
	}
	return errors.Join(errs...)
}
