package session_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/lease"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
	"github.com/tidemill/tidemill/objstore/memory"
)

// stuckTier never answers a removal.
type stuckTier struct {
	*memory.Tier
	asked atomic.Int64 // how often it was asked
}

func (t *stuckTier) Remove(ctx context.Context, _ ...objstore.Key) error {
	t.asked.Add(1)
	<-ctx.Done()
	return ctx.Err()
}

// However slow the rest of the keeper's work is, the lease comes first.
func TestTheLeaseIsRenewedBesideSlowWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		tier := &stuckTier{Tier: memory.New(memory.Config{})}
		s, err := session.Open(r.ctx, r.broker, session.Config{
			Owner: "s", Logger: slog.New(slog.DiscardHandler), Objects: objstore.NewStore(objstore.Config{Tier: tier}),
		})
		check(t, err)
		defer s.Close()
		large := task.Value{Data: bytes.Repeat([]byte("x"), 2*values.InlineBytes)}
		s.Put(r.ctx, large, nil).Release()
		table, err := r.broker.OpenTable(r.ctx, r.broker.Sessions())
		check(t, err)
		for begun := time.Now(); time.Since(begun) < 5*time.Minute; passes(time.Second) {
			row, err := table.Get(r.ctx, "s")
			check(t, err)
			if age := time.Since(row.Written); age > lease.Duration {
				t.Fatalf("after %s: got a lease renewed %s ago, want at most %s", time.Since(begun), age, lease.Duration)
			}
		}
		if tier.asked.Load() == 0 || s.Owner() != "s" {
			t.Errorf("got %d removals, owner %s, want some, s", tier.asked.Load(), s.Owner())
		}
	})
}

// countdown is a context that ends when it was looked at so many times.
type countdown struct {
	context.Context //nolint:containedctx // it is one
	cancel          context.CancelFunc
	left            *atomic.Int64
}

func (c countdown) Done() <-chan struct{} {
	if c.left.Add(-1) <= 0 {
		c.cancel()
	}
	return c.Context.Done()
}

// A session whose opening is given up, at whatever point, leaves nothing that runs, and nothing in the way of the next one.
func TestOpeningIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		cfg := session.Config{Job: "j", Logger: slog.New(slog.DiscardHandler)}
		opened := 0
		for looks := 1; opened == 0 && looks < 1000; looks++ {
			ctx, cancel := context.WithCancel(r.ctx)
			var left atomic.Int64
			left.Store(int64(looks))
			s, err := session.Open(countdown{ctx, cancel, &left}, r.broker, cfg)
			cancel()
			if err == nil {
				opened = looks
				s.Close()
			}
			synctest.Wait()
		}
		if opened < 5 {
			t.Errorf("opened when the context is looked at: got %d times, want at least 5", opened)
		}
		s, err := session.Open(r.ctx, r.broker, cfg)
		if err != nil {
			t.Fatalf("open the job afterwards: got %v, want nil", err)
		}
		s.Close()
	})
}
