package session_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// stage leads to the server that is on it.
type stage struct {
	mu     sync.Mutex
	server *embedded.Server // guarded by mu
	conns  []net.Conn       // guarded by mu
}

func (s *stage) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, err := s.server.InProcessConn()
	if err == nil {
		s.conns = append(s.conns, conn)
	}
	return conn, err
}

// put puts another server there: connections are cut, and made again to it.
func (s *stage) put(server *embedded.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func serverOn(t *testing.T, dir string) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(embedded.Config{Dir: dir, Sync: embedded.NoSyncForTwoMinutes, Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(server.Close)
	return server
}

// brokerOn returns a broker of the test's own.
func brokerOn(t *testing.T, d queues.Dialer) *queues.Broker {
	t.Helper()
	b, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: d, Storage: queues.Files, Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(b.Close)
	return b
}

// drawOn takes batches until it has seen the task, and returns the number that it has there.
func drawOn(t *testing.T, ctx context.Context, b *queues.Broker, input byte) uint64 {
	t.Helper()
	queue, err := b.OpenQueue(ctx, b.Batches("cpu", string(task.Normal)))
	check(t, err)
	numbers := make(chan uint64, 1)
	puller := queue.Pull(func(d *queues.Delivery) {
		var batch task.Batch
		if err := task.DecodeBatch(d.Data, &batch); err != nil {
			t.Error(err)
		}
		for _, s := range batch.Specs {
			if s.Input.Data[0] == input {
				numbers <- s.Number
			}
		}
		_ = d.Ack()
	})
	defer puller.Stop()
	check(t, puller.Ask(100))
	return receive(t, numbers)
}

// A server comes back with files of an hour ago. What the session has seen decided since is decided as it
// was, for the next run too; what is open is published again; and what is recorded then is read, though
// its sequence is one that was read before.
func TestALogThatGoesBack(t *testing.T) {
	for _, job := range []string{"", "j"} {
		t.Run("job "+job, func(t *testing.T) {
			runtime.GC() // nats.go keeps timers in a pool, and when it connects again, none of another bubble's may be there
			runtime.GC()
			synctest.Test(t, func(t *testing.T) { goBack(t, job) })
		})
	}
}

func goBack(t *testing.T, job string) {
	dir, backup := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir")
	first := serverOn(t, dir)
	on := &stage{server: first}
	registry := session.NewRegistry()
	check(t, registry.Add(&session.Function{Name: "f"}))
	open := func() *session.Session {
		cfg := session.Config{Owner: "me", Job: job, Registry: registry, Logger: slog.New(slog.DiscardHandler)}
		s, err := session.Open(t.Context(), brokerOn(t, on), cfg)
		check(t, err)
		return s
	}
	s := open()
	submit := func(s *session.Session, input byte) *session.Handle {
		return s.Submit(t.Context(), session.Order{Template: &session.Template{Func: "f"}, Input: task.Value{Data: []byte{input}}}, nil)
	}
	record := func(b *queues.Broker, h *session.Handle, input byte, value string) {
		t.Helper()
		number := drawOn(t, t.Context(), b, input)
		log, err := b.OpenLog(t.Context(), b.Log(s.Owner()))
		check(t, err)
		e := ok(number, value)
		e.Digest = h.Digest()
		check(t, log.Append(t.Context(), queues.Message{Data: encode(s.Owner(), e)}))
		check(t, h.Wait(t.Context()))
	}
	b := brokerOn(t, on)
	early := submit(s, 1)
	record(b, early, 1, "early")
	passes(time.Minute) // the janitor's mark is told
	check(t, os.CopyFS(backup, os.DirFS(dir)))
	for i := range byte(5) {
		record(b, submit(s, 10+i), 10+i, "passed over")
	}
	late, left := submit(s, 2), submit(s, 3)
	record(b, late, 2, "late")
	check(t, s.Flush(t.Context()))

	second := serverOn(t, backup)
	on.put(second)
	first.Close()
	b = brokerOn(t, second)
	record(b, left, 3, "left")
	want := map[byte]string{1: "early", 2: "late", 3: "left"}
	outcomes := func(handles map[byte]*session.Handle) {
		t.Helper()
		for input, h := range handles {
			check(t, h.Wait(t.Context()))
			if v, err := h.Outcome(t.Context()); err != nil || string(v.Data) != want[input] {
				t.Errorf("task %d: %q, %v", input, v.Data, err)
			}
		}
	}
	outcomes(map[byte]*session.Handle{1: early, 2: late, 3: left})
	passes(time.Minute)
	s.Close()
	if job == "" {
		return
	}
	s = open()
	defer s.Close()
	again := map[byte]*session.Handle{}
	for input := range want {
		again[input] = submit(s, input)
		if !again[input].Resumed() {
			t.Errorf("task %d is not resumed", input)
		}
	}
	outcomes(again)
}
