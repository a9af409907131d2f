package tidemill_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// The server's clock for message ages must run outside of every bubble of virtual time.
func TestMain(m *testing.M) {
	ats.Register()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Close leaves no goroutine, no file and no connection, whatever is under way.
func TestCloseLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	before := goleak.IgnoreCurrent()
	ctx := t.Context()
	cluster, err := tidemill.Open(ctx, tidemill.Config{Listen: "127.0.0.1:0"})
	check(t, err)
	client, err := nats.Connect(cluster.URL(), nats.NoReconnect())
	check(t, err)
	open := cluster.Context(ctx)
	refs := make([]engine.Ref[string], 10_000)
	for i := range refs {
		refs[i] = upper.Submit(open, "x")
	}
	if entries, _ := os.ReadDir(tmp); len(entries) == 0 {
		t.Error("no temporary folder: this test looks in the wrong place")
	}
	check(t, cluster.Close(ctx))
	check(t, cluster.Close(ctx)) // again
	ended := 0
	for _, r := range refs {
		if _, err := r.Get(open); errors.Is(err, engine.ErrClosed) {
			ended++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if ended == len(refs) {
		t.Log("none of the tasks ended before Close")
	}
	if _, err := upper.Submit(open, "x").Get(open); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("submit after Close: %v", err)
	}
	if client.Flush() == nil {
		t.Error("a client is still connected")
	}
	client.Close()
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
	goleak.VerifyNone(t, before)
}

// Close waits for what runs; when its context ends first, it says so and ends the rest.
func TestCloseWaitsForWhatRuns(t *testing.T) {
	registry := engine.NewRegistry()
	begun, end := make(chan struct{}), make(chan struct{})
	f := engine.NewFunc("wait", func(ctx context.Context, obeys bool) (bool, error) {
		begun <- struct{}{}
		if obeys {
			<-ctx.Done()
			return true, nil
		}
		<-end
		return false, nil
	}, engine.In(registry))
	ctx := t.Context()
	run := func(obeys bool, closing context.Context) (closed error) {
		cluster, err := tidemill.Open(ctx, tidemill.Config{Registry: registry})
		check(t, err)
		f.Submit(cluster.Context(ctx), obeys)
		<-begun
		var group sync.WaitGroup
		group.Go(func() { closed = cluster.Close(closing) })
		if !obeys {
			end <- struct{}{}
		}
		group.Wait()
		return closed
	}
	check(t, run(false, ctx))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := run(true, ended); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "still running") {
		t.Errorf("got %v", err)
	}
}

func TestOpenReportsAllFaultsAtOnce(t *testing.T) {
	before := goleak.IgnoreCurrent()
	_, err := tidemill.Open(t.Context(), tidemill.Config{
		Namespace: "a.b", NodeID: "No Name", Agent: 7, Resources: map[string]float64{"cpu": -1, "GPU": 1},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{"Namespace", "NodeID", "Agent", "Resources"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
	for _, cfg := range []tidemill.Config{{Listen: "nowhere"}, {Listen: "127.0.0.1:99999"}, {Resources: map[string]float64{"cpu": 0}}} {
		if _, err := tidemill.Open(t.Context(), cfg); err == nil {
			t.Errorf("%+v opened", cfg)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tidemill.Open(ended, tidemill.Config{}); err == nil {
		t.Error("opened under an ended context")
	}
	goleak.VerifyNone(t, before)
}

// Without an agent tasks are stored and wait.
func TestWithoutAnAgentTasksWait(t *testing.T) {
	ctx := t.Context()
	cluster, err := tidemill.Open(ctx, tidemill.Config{Agent: tidemill.AgentOff})
	check(t, err)
	open := cluster.Context(ctx)
	refs := []engine.Ref[string]{upper.Submit(open, "a"), upper.Submit(open, "b", engine.CPUs(64))}
	check(t, engine.Flush(open))
	if ready, pending, err := engine.Wait(open, refs, 0); len(ready) != 0 || !slices.Equal(pending, refs) || err != nil {
		t.Errorf("%d ready, %v", len(ready), err)
	}
	check(t, cluster.Close(ctx))
	if _, err := refs[0].Get(open); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// Two clusters of one process have nothing in common.
func TestClustersAreApart(t *testing.T) {
	ctx := t.Context()
	a, err := tidemill.Open(ctx, tidemill.Config{NodeID: "same"})
	check(t, err)
	b, err := tidemill.Open(ctx, tidemill.Config{NodeID: "same", Namespace: "other"})
	check(t, err)
	for range 100 {
		for _, c := range []*tidemill.Cluster{a, b} {
			open := c.Context(ctx)
			if v, err := upper.Submit(open, "x").Get(open); v != "X" || err != nil {
				t.Fatal(v, err)
			}
		}
	}
	check(t, a.Close(ctx))
	open := b.Context(ctx)
	if v, err := upper.Submit(open, "x").Get(open); v != "X" || err != nil {
		t.Error(v, err)
	}
	check(t, b.Close(ctx))
}
