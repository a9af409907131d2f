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
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// The NATS server keeps its clock for message ages in a goroutine, which must be started outside of every synctest bubble.
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

// Close leaves no goroutine, no file and no connection behind, even if tasks are still running.
func TestCloseLeavesNothing(t *testing.T) {
	tmp := t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} { // the last two are for Windows
		t.Setenv(name, tmp)
	}
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
		t.Errorf("the open cluster has no files in %s: this test looks for them in the wrong place", tmp)
	}
	check(t, cluster.Close(ctx))
	check(t, cluster.Close(ctx)) // again
	for i, r := range refs {
		if _, err := r.Get(open); err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Fatalf("task %d of %d after Close: got error %v, want a result or %v", i, len(refs), err, engine.ErrClosed)
		}
	}
	if _, err := upper.Submit(open, "x").Get(open); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("submit after Close: got error %v, want %v", err, engine.ErrClosed)
	}
	if client.Flush() == nil {
		t.Error("after Close, Flush of another client succeeded, want an error: it is still connected")
	}
	client.Close()
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("after Close, there are files %v, want none", left)
	}
	goleak.VerifyNone(t, before)
}

// Close waits for the running tasks; if its context ends first, the error says so, and Close stops everything else.
func TestCloseWaitsForRunningTasks(t *testing.T) {
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
		t.Errorf("Close with an ended context: got error %v, want %v, saying which tasks are still running", err, context.Canceled)
	}
}

func TestOpenReportsAllInvalidFieldsAtOnce(t *testing.T) {
	before := goleak.IgnoreCurrent()
	_, err := tidemill.Open(t.Context(), tidemill.Config{
		Namespace: "a.b", NodeID: "No Name", Agent: 7, Resources: map[string]float64{"cpu": -1, "GPU": 1}, Listen: "nowhere",
		Limit: -1, Sync: 9, Job: "no job", JobTTL: -time.Second, ObjectMemory: -1, Budget: -1,
	})
	if err == nil {
		t.Fatal("Open with all fields invalid: got no error")
	}
	for _, part := range []string{
		"Namespace: ", "NodeID: ", "Agent: 7 is", "Resources: task: resource cpu=-1", `Resources: task: resource name "GPU"`, "Listen: ",
		"Limit: -1 bytes", "Sync: 9 is", "Job: ", "JobTTL: -1s", "ObjectMemory: ", "Budget: ",
	} {
		if !strings.Contains(err.Error(), "invalid Config."+part) {
			t.Errorf("got error %q, want %q in it", err, "invalid Config."+part)
		}
	}
	for _, cfg := range []tidemill.Config{{Listen: "nowhere"}, {Listen: "127.0.0.1:99999"}, {Resources: map[string]float64{"cpu": 0}}} {
		if _, err := tidemill.Open(t.Context(), cfg); err == nil {
			t.Errorf("Open(%+v): got no error", cfg)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tidemill.Open(ended, tidemill.Config{}); err == nil {
		t.Error("Open with an ended context: got no error")
	}
	goleak.VerifyNone(t, before)
}

// A Dir where no directory can be is an error that says what is in its place.
func TestDirWhereNoneCanBe(t *testing.T) {
	home := t.TempDir()
	at := func(name string) string { return filepath.Join(home, name) }
	check(t, os.WriteFile(at("file"), nil, 0o600))
	check(t, os.Symlink(at("unmounted"), at("nowhere")))
	check(t, os.Symlink(at("itself"), at("itself")))
	for dir, says := range map[string]string{
		"file": "is not a directory", "file/below": "is not a directory", "nowhere": "unmounted", "nowhere/below": "unmounted", "itself": "symbolic link",
	} {
		_, err := tidemill.Open(t.Context(), tidemill.Config{Dir: at(dir), Budget: -1})
		if err == nil || !strings.Contains(err.Error(), "Config.Dir: ") || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "Config.Budget") {
			t.Errorf("Open with the directory %s and a negative Budget: got error %v, want one that names both fields, and %q", dir, err, says)
		}
	}
}

// Without an agent, tasks are stored and wait for one.
func TestWithoutAnAgentTasksWait(t *testing.T) {
	ctx := t.Context()
	cluster, err := tidemill.Open(ctx, tidemill.Config{Agent: tidemill.AgentOff})
	check(t, err)
	open := cluster.Context(ctx)
	refs := []engine.Ref[string]{upper.Submit(open, "a"), upper.Submit(open, "b", engine.CPUs(64))}
	check(t, engine.Flush(open))
	if ready, pending, err := engine.Wait(open, refs, 0); len(ready) != 0 || !slices.Equal(pending, refs) || err != nil {
		t.Errorf("got %d tasks ready, %d pending, error %v; want 0, %d, none", len(ready), len(pending), err, len(refs))
	}
	check(t, cluster.Close(ctx))
	if _, err := refs[0].Get(open); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("after Close: got error %v, want %v", err, engine.ErrClosed)
	}
}

// Two clusters in one process are independent of each other.
func TestClustersAreIndependent(t *testing.T) {
	ctx := t.Context()
	a, err := tidemill.Open(ctx, tidemill.Config{NodeID: "same"})
	check(t, err)
	b, err := tidemill.Open(ctx, tidemill.Config{NodeID: "same", Namespace: "other"})
	check(t, err)
	for range 100 {
		for _, c := range []*tidemill.Cluster{a, b} {
			open := c.Context(ctx)
			if v, err := upper.Submit(open, "x").Get(open); v != "X" || err != nil {
				t.Fatalf("got %q, error %v; want X", v, err)
			}
		}
	}
	check(t, a.Close(ctx))
	open := b.Context(ctx)
	if v, err := upper.Submit(open, "x").Get(open); v != "X" || err != nil {
		t.Errorf("after the other cluster was closed: got %q, error %v; want X", v, err)
	}
	check(t, b.Close(ctx))
}
