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

// Faults says how often what goes wrong: probabilities for each message that goes over a connection. A
// decision hashes the seed, the connection, the operation and its count, so a seed repeats the faults,
// though not the schedule.
type Faults struct {
	Seed        uint64
	LostRequest float64 // a message to the server is lost
	LostReply   float64 // a message from the server is lost
	Repeat      float64 // a message comes twice
	Delay       float64 // a message, and all behind it, is held for up to two seconds
	Cut         float64 // the connection ends, and is made again
	Kill        float64 // a node dies, as by Kill: the probability for each second
}

// plan returns the faults of the connections, nil if there are none.
func (f Faults) plan(t testing.TB) *faults.Plan {
	plan := faults.Faults{Seed: f.Seed, LostRequest: f.LostRequest, LostReply: f.LostReply, Repeat: f.Repeat, Delay: f.Delay, Cut: f.Cut}
	if plan == (faults.Faults{Seed: f.Seed}) {
		return nil
	}
	p := faults.New(plan, func(err error) { t.Errorf("enginetest: %v", err) })
	p.Off() // until all have begun
	return p
}

// killing kills nodes by chance until the cluster closes, or Calm is called.
func (c *cluster) killing() {
	defer c.again.Done()
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

// alive returns the names of the nodes that live, sorted.
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

// Calm ends the faults: what is sent from now on passes, and nobody dies any more.
func Calm(ctx context.Context) {
	ctx.Value(clusterKey{}).(*cluster).becalm() //nolint:forcetypeassert // a context of Start
}

func (c *cluster) becalm() {
	c.calming.Do(func() {
		close(c.calm)
		if c.plan != nil {
			c.plan.Off()
		}
	})
}
