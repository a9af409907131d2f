package tidemill_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

// openFor opens a cluster for one test. It may be closed before.
func openFor(t *testing.T, cfg tidemill.Config) (*tidemill.Cluster, context.Context) {
	t.Helper()
	cluster, err := tidemill.Open(t.Context(), cfg)
	check(t, err)
	t.Cleanup(func() { _ = cluster.Close(context.Background()) })
	return cluster, cluster.Context(t.Context())
}

// A cluster that is closed while it is used says ErrClosed, whatever was asked for: nothing of its connections and stores.
func TestCloseUnderLoad(t *testing.T) {
	registry := engine.NewRegistry()
	size := engine.NewFunc("size", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, engine.In(registry))
	cfg := tidemill.Config{Dir: t.TempDir(), Job: "server", Registry: registry, Resources: map[string]float64{"cpu": 4}}
	cluster, ctx := openFor(t, cfg)
	exported, err := engine.Put(ctx, []byte("x")).Export(ctx, time.Hour)
	check(t, err)
	calls := map[string]func(value []byte) error{
		"put":    func(value []byte) error { _, err := engine.Put(ctx, value).Get(ctx); return err },
		"submit": func(value []byte) error { _, err := size.Submit(ctx, value).Get(ctx); return err },
		"submit ref": func(value []byte) error {
			_, err := size.SubmitRef(ctx, engine.Put(ctx, value), engine.CPUs(0.5)).Get(ctx)
			return err
		},
		"export": func(value []byte) error { _, err := engine.Put(ctx, value).Export(ctx, time.Hour); return err },
		"import": func([]byte) error { _, err := engine.Import[[]byte](ctx, exported); return err },
		"flush":  func([]byte) error { return engine.Flush(ctx) },
	}
	var group, warm sync.WaitGroup
	for name, call := range calls {
		for g := range 2 {
			warm.Add(1)
			group.Go(func() {
				value := make([]byte, 100_000)
				for n := 0; ; n++ {
					binary.BigEndian.PutUint64(value, uint64(n*2+g)) // so that the values of a call differ
					copy(value[8:], name)
					err := call(value)
					if n == 0 {
						warm.Done()
					}
					if err != nil {
						if !errors.Is(err, engine.ErrClosed) {
							t.Errorf("%s while the cluster is closed: got error %v, want %v", name, err, engine.ErrClosed)
						}
						return
					}
				}
			})
		}
	}
	warm.Wait()
	check(t, cluster.Close(t.Context()))
	group.Wait()
	if err := cluster.End(t.Context()); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("End after Close: got error %v, want %v", err, engine.ErrClosed)
	}
}

// A cluster that is closed while classes are opened and tasks run logs no warning.
func TestClosingIsNoWarning(t *testing.T) {
	registry := engine.NewRegistry()
	size := engine.NewFunc("size", func(_ context.Context, b []byte) (int, error) { return len(b), nil }, engine.In(registry))
	for n := range 8 {
		var out bytes.Buffer
		cluster, ctx := openFor(t, tidemill.Config{
			Registry: registry, Logger: slog.New(slog.NewTextHandler(&out, nil)), Resources: map[string]float64{"cpu": 4, "db": 4},
		})
		for _, option := range []engine.Option{engine.CPUs(0.25), engine.CPUs(0.5), engine.CPUs(2), engine.Resource("db", 1), engine.Resource("db", 2)} {
			size.Submit(ctx, []byte("x"), option)
		}
		if n%2 == 0 {
			_, err := size.Submit(ctx, nil).Get(ctx)
			check(t, err)
		}
		check(t, cluster.Close(t.Context()))
		if out.Len() > 0 {
			t.Fatalf("cluster %d: got the log:\n%s\nwant none", n, &out)
		}
	}
}

// When the directory is deleted under a cluster, all that waits ends within seconds, with ErrStorageLost, and so does Close.
func TestDirectoryIsDeleted(t *testing.T) {
	registry := engine.NewRegistry()
	begun := make(chan struct{}, 8)
	nap := engine.NewFunc("nap", func(ctx context.Context, _ engine.None) (engine.None, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return engine.None{}, ctx.Err()
	}, engine.In(registry))
	dir := filepath.Join(t.TempDir(), "dir")
	quiet := slog.New(slog.DiscardHandler) // the server complains, rightly
	cluster, ctx := openFor(t, tidemill.Config{Dir: dir, Job: "job", Registry: registry, Logger: quiet})
	running := nap.Submit(ctx, engine.None{})
	delayed := nap.Submit(ctx, engine.None{}, engine.Delay(time.Hour))
	<-begun
	began := time.Now()
	check(t, os.RemoveAll(dir))
	for _, c := range []struct {
		name string
		wait func() error
	}{
		{"get of a running task", func() error { _, err := running.Get(ctx); return err }},
		{"get of a task for later", func() error { _, err := delayed.Get(ctx); return err }},
		{"submit, and get", func() error { _, err := nap.Submit(ctx, engine.None{}).Get(ctx); return err }},
		{"flush after a submit", func() error { nap.Submit(ctx, engine.None{}); return engine.Flush(ctx) }},
		{"put, once the loss is seen", func() error { _, err := engine.Put(ctx, make([]byte, 1<<20)).Get(ctx); return err }},
	} {
		if err := c.wait(); !errors.Is(err, engine.ErrStorageLost) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got error %v, want %v with the directory", c.name, err, engine.ErrStorageLost)
		}
	}
	if err := cluster.Close(t.Context()); !errors.Is(err, engine.ErrStorageLost) {
		t.Errorf("Close: got error %v, want %v", err, engine.ErrStorageLost)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("all ended after %s, want it within seconds", took)
	}
}

// Cancel cancels the task, whichever session the context carries: that of another cluster, of a task, or none.
func TestCancelWithTheContextOfAnotherSession(t *testing.T) {
	registry := engine.NewRegistry()
	begun := make(chan struct{}, 1)
	nap := engine.NewFunc("nap", func(ctx context.Context, _ engine.None) (string, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return "", ctx.Err()
	}, engine.In(registry))
	refs := make(chan engine.Ref[string], 1)
	canceller := engine.NewFunc("canceller", func(ctx context.Context, _ engine.None) (engine.None, error) {
		return engine.None{}, (<-refs).Cancel(ctx)
	}, engine.In(registry))
	parent := engine.NewFunc("parent", func(ctx context.Context, _ engine.None) (string, error) {
		child := nap.Submit(ctx, engine.None{})
		refs <- child
		_, err := child.Get(ctx)
		return fmt.Sprint(errors.Is(err, engine.ErrCancelled)), nil
	}, engine.In(registry))
	cfg := tidemill.Config{Registry: registry, Resources: map[string]float64{"cpu": 4}}
	cluster, mine := openFor(t, cfg)
	_, other := openFor(t, cfg)

	for name, ctx := range map[string]context.Context{"another cluster": other, "no cluster": t.Context()} {
		ref := nap.Submit(mine, engine.None{})
		<-begun
		check(t, ref.Cancel(ctx))
		if _, err := ref.Get(mine); !errors.Is(err, engine.ErrCancelled) {
			t.Errorf("cancelled with the context of %s: got error %v, want %v", name, err, engine.ErrCancelled)
		}
	}

	ref := nap.Submit(mine, engine.None{})
	<-begun
	refs <- ref
	_, err := canceller.Submit(mine, engine.None{}).Get(mine)
	check(t, err)
	if _, err := ref.Get(mine); !errors.Is(err, engine.ErrCancelled) {
		t.Errorf("cancelled with the context of a task: got error %v, want %v", err, engine.ErrCancelled)
	}

	ref = nap.Submit(mine, engine.None{})
	<-begun
	ref.Release() // with no context at all
	if _, err := ref.Export(other, time.Hour); err == nil || !strings.Contains(err.Error(), "another session") {
		t.Errorf("export with the context of another cluster: got error %v, want one that says that the Ref is of another session", err)
	}
	check(t, ref.Cancel(other))
	select {
	case <-ref.Done(other):
	default:
		t.Error("Done with the context of another cluster, after Cancel: got an open channel, want it closed")
	}

	over := parent.Submit(mine, engine.None{})
	<-begun
	check(t, (<-refs).Cancel(mine))
	if cancelled, err := over.Get(mine); cancelled != "true" || err != nil {
		t.Errorf("a task's child, cancelled with the driver's context: got cancelled %s, error %v; want true", cancelled, err)
	}

	ref = nap.Submit(mine, engine.None{})
	<-begun
	check(t, cluster.Close(t.Context()))
	if err := ref.Cancel(other); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("cancel after its cluster was closed: got error %v, want %v", err, engine.ErrClosed)
	}
}
