package tidemill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

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

// Cluster is an open cluster: an embedded NATS server, usually a node agent, and the session of this program. It is safe
// for concurrent use.
type Cluster struct {
	server  *embedded.Server
	brokers []*queues.Broker // the session and the agent have a connection each
	agent   *nodeagent.Agent // nil with AgentOff
	session *session.Session
	job     string          // name of the job; "" = an unnamed run
	objects *objstore.Store // stores the values that are too large for messages
	tier    *jetstream.Tier // where objects keeps them; nil = in memory

	closeOnce sync.Once
	closeErr  error // what Close returns; set in closeOnce
}

// Open starts a server, a session and an agent as cfg says, and returns when tasks can be submitted. If ctx ends first, or
// anything cannot be started, Open stops what it has started and returns an error. An invalid cfg is an error that names
// every invalid field. The caller must close the cluster.
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
		Registry: cfg.Registry, LocalAgent: cfg.Agent == AgentOn, Logger: cfg.Logger, MaxPendingBytes: int(memory / 2), Full: c.full,
	}
	c.job = cfg.Job
	// The session of a job must have read what the earlier runs left before an agent of this process runs any of it.
	if c.session, err = session.Open(ctx, broker, sessionConfig); err != nil {
		return err
	}
	c.server.NotifyLost(c.storageLost)
	if cfg.Agent != AgentOn {
		return nil
	}
	return c.startAgent(ctx, cfg)
}

// storageLost ends the session: nothing that is asked for now would have an answer.
func (c *Cluster) storageLost(err error) {
	c.session.Fail(fmt.Errorf("%w: %w", values.ErrStorageLost, err))
}

// openObjects returns the store of large values: in memory, or for a named job in streams, so that values survive this
// process as the job's tasks do.
func (c *Cluster) openObjects(ctx context.Context, cfg Config) (*objstore.Store, error) {
	if cfg.Job == "" {
		return objstore.NewStore(objstore.Config{Tier: memory.New(memory.Config{Limit: cfg.ObjectMemory})}), nil
	}
	var err error
	c.tier, err = jetstream.Open(ctx, c.connection(cfg, "objects"), jetstream.Config{})
	if err != nil {
		return nil, err
	}
	return objstore.NewStore(objstore.Config{Tier: c.tier, Digests: true, Cache: cfg.ObjectMemory}), nil
}

// Objects returns the counters of the store of large values since Open, such as how many values were put, and how many of
// them were stored already.
func (c *Cluster) Objects() objstore.Stats { return c.objects.Stats() }

// full returns an error that wraps engine.ErrStorageFull while the storage is too full for new tasks, nil otherwise.
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

// freshName returns a random name for a session, which no other session has.
func freshName() string { return "s-" + strings.ToLower(rand.Text()) }

// holder describes this process for the error that another run of the same job gets. It ends with random text, which makes
// it unique.
func holder() string {
	host, _ := os.Hostname() // for information only
	return fmt.Sprintf("%s, process %d on %s (%s)", program(), os.Getpid(), host, strings.ToLower(rand.Text()))
}

// Context returns a child of ctx that carries the session of this cluster: with it, package engine submits tasks to this
// cluster.
func (c *Cluster) Context(ctx context.Context) context.Context { return session.With(ctx, c.session) }

// URL returns the URL at which NATS clients of other processes can connect, "" if Config.Listen was not set.
func (c *Cluster) URL() string { return c.server.URL() }

// End ends the run: unfinished tasks are cancelled. A named job is over, and the next run under its name starts from
// scratch. Main calls End when run has returned nil. Nothing can be submitted afterwards; close the cluster next.
func (c *Cluster) End(ctx context.Context) error {
	if err := c.session.End(ctx); err != nil {
		return fmt.Errorf("tidemill: %w", err)
	}
	return nil
}

// Close stops everything that Open started, and returns when it has stopped.
//
// A named job can be resumed afterwards, unless End was called: Close waits for the running tasks and records their
// results, and leaves the other tasks to the next run. Any other run ends with Close: its unfinished tasks are cancelled,
// and Close waits until the running functions, whose contexts are cancelled, have returned. Get of a task without an
// outcome returns engine.ErrClosed.
//
// If ctx ends while functions are still running, Close returns an error with their names, and does not wait for them any
// longer. Calling Close again returns the result of the first call.
func (c *Cluster) Close(ctx context.Context) error {
	c.closeOnce.Do(func() { c.closeErr = c.close(ctx) })
	return c.closeErr
}

// lostGrace bounds how long Close waits for running tasks when the storage is lost.
const lostGrace = 2 * time.Second

func (c *Cluster) close(ctx context.Context) error {
	var errs []error
	switch {
	case c.session == nil:
	case c.server.Lost() != nil: // what runs can be recorded no more
		errs = append(errs, c.session.Err())
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lostGrace)
		defer cancel()
	case c.job == "":
		errs = append(errs, c.session.End(ctx))
	}
	if c.agent != nil {
		err := c.agent.Close(ctx)
		if err != nil {
			c.server.MarkUnclean() // the next run must assume that the tasks which still ran had started
		}
		errs = append(errs, err)
	}
	if c.session != nil {
		c.session.Close()
	}
	if c.tier != nil {
		c.tier.Close()
	}
	for _, b := range c.brokers {
		b.Close()
	}
	if c.server != nil {
		c.server.Close()
	}
	return errors.Join(errs...)
}
