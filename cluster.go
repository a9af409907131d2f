package tidemill

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/nodeagent"
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
	if c.server, err = embedded.Start(embedded.Config{Listen: cfg.Listen, Memory: memory, Logger: cfg.Logger}); err != nil {
		return err
	}
	if cfg.Agent == AgentOn {
		if err = c.startAgent(ctx, cfg); err != nil {
			return err
		}
	}
	broker, err := c.connect(cfg, "session")
	if err != nil {
		return err
	}
	sessionConfig := session.Config{Owner: freshName(), Registry: cfg.Registry, Logger: cfg.Logger, MaxPendingBytes: int(memory / 2)}
	if c.agent != nil {
		sessionConfig.Local = cfg.Registry
	}
	c.session, err = session.Open(ctx, broker, sessionConfig)
	return err
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
	})
	return err
}

func (c *Cluster) connect(cfg Config, client string) (*queues.Broker, error) {
	broker, err := queues.Connect(queues.Config{
		Namespace: cfg.Namespace, Client: "tidemill-" + client, Dialer: c.server, Logger: cfg.Logger,
	})
	if err == nil {
		c.brokers = append(c.brokers, broker)
	}
	return broker, err
}

// freshName returns a name that no other session has.
func freshName() string { return "s-" + strings.ToLower(rand.Text()) }

// Context returns a context that carries the cluster's session: functions submitted with it run here.
func (c *Cluster) Context(ctx context.Context) context.Context { return session.With(ctx, c.session) }

// URL returns where any NATS client connects, "" if the cluster listens to this process alone.
func (c *Cluster) URL() string { return c.server.URL() }

// Close waits for the tasks that run, starts no other, and stops all that Open started. Tasks without an
// outcome then have none: who waits for them gets engine.ErrClosed. If ctx ends before what runs has
// ended, the contexts of those tasks are cancelled, all else is stopped, and an error says that they were
// left behind. Closing again returns what the first Close did.
func (c *Cluster) Close(ctx context.Context) error {
	c.once.Do(func() { c.err = c.close(ctx) })
	return c.err
}

func (c *Cluster) close(ctx context.Context) error {
	var errs []error
	if c.agent != nil {
		errs = append(errs, c.agent.Close(ctx))
	}
	if c.session != nil {
		c.session.Close()
	}
	for _, b := range c.brokers {
		b.Close()
	}
	if c.server != nil {
		c.server.Close()
	}
	return errors.Join(errs...)
}
