package enginetest

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/faults"
)

// Faults has the probabilities of faults: for each message on a connection, except Kill, which is for each second. A
// decision hashes the seed, the connection, the operation and its count, so that a seed repeats the faults, though not
// the schedule of goroutines.
type Faults struct {
	Seed        uint64
	LostRequest float64 // a message to the server is lost
	LostReply   float64 // a message from the server is lost
	Repeat      float64 // a message arrives twice
	Delay       float64 // a message, and all messages behind it, are delayed by up to two seconds
	Cut         float64 // the connection breaks, and the client reconnects
	Kill        float64 // a node is killed, as by the function Kill
}

// plan returns the faults of the connections, or nil if there are none.
func (f Faults) plan(t testing.TB) *faults.Plan {
	plan := faults.Faults{Seed: f.Seed, LostRequest: f.LostRequest, LostReply: f.LostReply, Repeat: f.Repeat, Delay: f.Delay, Cut: f.Cut}
	if plan == (faults.Faults{Seed: f.Seed}) {
		return nil
	}
	p := faults.New(plan, func(err error) { t.Errorf("enginetest: %v", err) })
	p.Off() // until the whole cluster has started
	return p
}

// killByChance kills nodes by chance until the cluster is closed or Calm is called.
func (c *cluster) killByChance() {
	defer c.restarts.Done()
	h := fnv.New64a()
	_, _ = h.Write([]byte("kill"))
	rng := rand.New(rand.NewPCG(c.cfg.Faults.Seed, h.Sum64()))
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-c.calm:
			return
		}
		if rng.Float64() < c.cfg.Faults.Kill {
			if names := c.alive(); len(names) > 0 {
				c.kill(names[rng.IntN(len(names))])
			}
		}
	}
}

// alive returns the names of the running nodes, sorted.
func (c *cluster) alive() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name := range c.nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Calm ends the faults: from now on messages pass, and no node is killed by chance.
func Calm(ctx context.Context) { of(ctx).becalm() }

func (c *cluster) becalm() {
	c.calming.Do(func() {
		close(c.calm)
		if c.plan != nil {
			c.plan.Off()
		}
	})
}
