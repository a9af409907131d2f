package session_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine/enginetest"
	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/nodeagent"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// dialer makes connections to a server that can be exchanged for another.
type dialer struct {
	mu     sync.Mutex
	server *embedded.Server // guarded by mu
	conns  []net.Conn       // connections to server; guarded by mu
}

func (s *dialer) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn, err := s.server.InProcessConn()
	if err == nil {
		s.conns = append(s.conns, conn)
	}
	return conn, err
}

// switchTo exchanges the server: it cuts the connections, and clients reconnect to the new one.
func (s *dialer) switchTo(server *embedded.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// serverOn starts a server on a directory.
func serverOn(t *testing.T, dir string) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(embedded.Config{Dir: dir, Sync: embedded.NoSyncForTwoMinutes, Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(server.Close)
	return server
}

// brokerOn connects a broker that the test closes.
func brokerOn(t *testing.T, d queues.Dialer) *queues.Broker {
	t.Helper()
	b, err := queues.Connect(queues.Config{Namespace: "tm", Dialer: d, Storage: queues.Files, Logger: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(b.Close)
	return b
}

// pullUntil pulls batches until one has the task with this input, and returns the number of the task.
func pullUntil(t *testing.T, b *queues.Broker, input byte) uint64 {
	t.Helper()
	queue, err := b.OpenQueue(t.Context(), b.Batches("cpu", string(task.Normal)))
	check(t, err)
	numbers := make(chan uint64, 1)
	puller := queue.Pull(func(d *queues.Delivery) {
		var batch task.Batch
		if err := task.DecodeBatch(d.Data, &batch); err != nil {
			t.Errorf("decode a batch: %v", err)
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

// A server comes back with the files of an earlier time. Outcomes that the session has seen since then stay as they were,
// for the next run of a job too; open tasks are published again; and records that are appended then are read, although
// their sequences are ones that were read before.
func TestALogThatGoesBack(t *testing.T) {
	for _, job := range []string{"", "j"} {
		t.Run("job "+job, func(t *testing.T) { enginetest.Bubble(t, func(t *testing.T) { goBack(t, job) }) })
	}
}

// jobHarness opens sessions on a server that can be exchanged, and does the work of their agents.
type jobHarness struct {
	*testing.T
	to       *dialer
	registry *registry.Registry // nil = one with the function f
}

// open opens a session for the owner "me", or of a run of the job. It is closed when the test ends, if not before.
func (h *jobHarness) open(job string) *session.Session {
	h.Helper()
	if h.registry == nil {
		h.registry = registry.New()
		check(h.T, h.registry.Add(&registry.Function{Name: "f"}))
	}
	cfg := session.Config{Owner: "me", Job: job, Registry: h.registry, Logger: slog.New(slog.DiscardHandler)}
	s, err := session.Open(h.Context(), brokerOn(h.T, h.to), cfg)
	check(h.T, err)
	h.Cleanup(s.Close)
	return s
}

// wait waits for the outcome of the task with this input, for an hour of virtual time at most.
func (h *jobHarness) wait(handle *session.Handle, input byte) (string, error) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), time.Hour)
	defer cancel()
	if err := handle.Wait(ctx); err != nil {
		h.Fatalf("waited an hour for the outcome of task %d, and got none: %v", input, err)
	}
	var v task.Value
	err := handle.Outcome(ctx, &v)
	return string(v.Data), err
}

// submit submits a call of f.
func (h *jobHarness) submit(s *session.Session, input byte) *session.Handle {
	return s.Submit(h.Context(), &session.Order{Template: &session.Template{Func: "f"}, Input: task.Value{Data: []byte{input}}}, nil)
}

// record pulls the task with this input, records its result and waits until the session has it.
func (h *jobHarness) record(s *session.Session, b *queues.Broker, handle *session.Handle, input byte, value string) {
	h.Helper()
	number := pullUntil(h.T, b, input)
	log, err := b.OpenLog(h.Context(), b.Log(s.Owner()))
	check(h.T, err)
	e := ok(number, value)
	e.Digest = handle.Digest()
	check(h.T, log.Append(h.Context(), queues.Message{Data: encode(s.Owner(), e)}))
	got, err := h.wait(handle, input)
	if got != value || err != nil {
		h.Errorf("task %d: got the result %q and the error %v, want %q and none", input, got, err, value)
	}
}

// expectOutcomes waits for the outcomes of tasks, by input, and expects these results.
func (h *jobHarness) expectOutcomes(handles map[byte]*session.Handle, want map[byte]string) {
	h.Helper()
	for input, handle := range handles {
		if got, err := h.wait(handle, input); err != nil || got != want[input] {
			h.Errorf("task %d: got the result %q and the error %v, want %q and none", input, got, err, want[input])
		}
	}
}

func goBack(t *testing.T, job string) {
	dir, backup := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir")
	first := serverOn(t, dir)
	h := &jobHarness{T: t, to: &dialer{server: first}}
	s, b := h.open(job), brokerOn(t, h.to)
	early := h.submit(s, 1)
	h.record(s, b, early, 1, "early")
	passes(time.Minute) // the session's row says that its log was read so far
	check(t, os.CopyFS(backup, os.DirFS(dir)))
	for i := range byte(5) {
		h.record(s, b, h.submit(s, 10+i), 10+i, "passed over")
	}
	late, left := h.submit(s, 2), h.submit(s, 3)
	h.record(s, b, late, 2, "late")
	check(t, s.Flush(t.Context()))

	second := serverOn(t, backup)
	h.to.switchTo(second)
	first.Close()
	h.record(s, brokerOn(t, second), left, 3, "left")
	want := map[byte]string{1: "early", 2: "late", 3: "left"}
	h.expectOutcomes(map[byte]*session.Handle{1: early, 2: late, 3: left}, want)
	passes(time.Minute)
	s.Close()
	if job == "" {
		return
	}

	s = h.open(job)
	again := map[byte]*session.Handle{}
	for input := range want {
		again[input] = h.submit(s, input)
		if !again[input].Resumed() {
			t.Errorf("in the next run, task %d is not resumed, want it resumed", input)
		}
	}
	h.expectOutcomes(again, want)
}

// takeLogFrom replaces the stream of records in a backup by that of an earlier one, as if only the end of this stream had
// been lost.
func takeLogFrom(t *testing.T, earlier, backup string) {
	t.Helper()
	var log string
	check(t, filepath.WalkDir(earlier, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "tm_log_0" {
			log, err = filepath.Rel(earlier, path)
		}
		return err
	}))
	check(t, os.RemoveAll(filepath.Join(backup, log)))
	check(t, os.CopyFS(filepath.Join(backup, log), os.DirFS(filepath.Join(earlier, log))))
}

// A result of a former run that was not read before the end of the log was lost is lost too: a record that has its sequence
// later is not taken for it.
func TestAResultThatIsLostWithTheEndOfALog(t *testing.T) {
	enginetest.Bubble(t, func(t *testing.T) {
		dir, earlier, backup := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir")
		first := serverOn(t, dir)
		h := &jobHarness{T: t, to: &dialer{server: first}}
		s := h.open("j")
		b := brokerOn(t, h.to)
		h.record(s, b, h.submit(s, 1), 1, "zero")
		passes(time.Minute)
		check(t, os.CopyFS(earlier, os.DirFS(dir)))
		h.record(s, b, h.submit(s, 2), 2, "one")
		s.Close()
		s = h.open("j")
		one := h.submit(s, 2)
		passes(time.Minute)
		check(t, os.CopyFS(backup, os.DirFS(dir)))
		takeLogFrom(t, earlier, backup)
		second := serverOn(t, backup)
		h.to.switchTo(second)
		first.Close()
		passes(time.Minute)
		two := h.submit(s, 3)
		h.record(s, brokerOn(t, second), two, 3, "two")
		if got, err := h.wait(one, 2); err == nil {
			t.Errorf("the task has the result %q, want an error: its record is lost", got)
		}
	})
}

// An agent holds a batch when its stream is replaced by an earlier copy. A batch that gets the same sequence in that copy is
// another one, and its tasks run.
func TestABatchWithTheSequenceOfAnother(t *testing.T) {
	enginetest.Bubble(t, func(t *testing.T) {
		dir, backup := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir")
		first := serverOn(t, dir)
		h := &jobHarness{T: t, to: &dialer{server: first}, registry: registry.New()}
		held, ran := make(chan struct{}), [256]atomic.Int32{} // ran is how often each input ran
		release := sync.OnceFunc(func() { close(held) })
		check(t, h.registry.Add(&registry.Function{Name: "f", Invoke: func(_ context.Context, in *task.Value, dst []byte) (task.Value, error) {
			if n := ran[in.Data[0]].Add(1); in.Data[0] == 'A' && n == 1 {
				<-held
			}
			return task.Value{Data: append(dst, in.Data...)}, nil
		}}))
		s := h.open("")
		resources, err := task.NewResources(map[string]float64{"cpu": 2})
		check(t, err)
		agent, err := nodeagent.Start(t.Context(), brokerOn(t, h.to), nodeagent.Config{
			NodeID: "n1", Resources: resources, Registry: h.registry, Logger: slog.New(slog.DiscardHandler),
		})
		check(t, err)
		defer func() { check(t, agent.Close(t.Context())) }()
		defer release() // Close waits for the task
		_, err = h.wait(h.submit(s, '0'), '0')
		check(t, err)
		passes(time.Minute)
		check(t, os.CopyFS(backup, os.DirFS(dir)))
		_, err = h.wait(h.submit(s, 'X'), 'X')
		check(t, err)
		a := h.submit(s, 'A')
		check(t, s.Flush(t.Context()))
		passes(time.Second)
		second := serverOn(t, backup)
		h.to.switchTo(second)
		first.Close()
		passes(20 * time.Second)
		_, err = h.wait(a, 'A')
		check(t, err)
		d := h.submit(s, 'D')
		check(t, s.Flush(t.Context()))
		passes(time.Minute)
		release()
		passes(5 * time.Minute)
		if !d.Ended() {
			t.Errorf("after minutes, task D has no outcome and ran %d times, want an outcome", ran['D'].Load())
		}
	})
}

// A call that gets a result of a former run waits while the server is down, however long that takes.
func TestARecordedResultIsThereWhenItsServerIs(t *testing.T) {
	enginetest.Bubble(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "dir")
		first := serverOn(t, dir)
		h := &jobHarness{T: t, to: &dialer{server: first}}
		s := h.open("j")
		h.record(s, brokerOn(t, h.to), h.submit(s, 2), 2, "two")
		s.Close()
		s = h.open("j")
		recorded := h.submit(s, 2)
		if !recorded.Resumed() {
			t.Fatal("the task is not resumed, want it resumed")
		}
		first.Close()
		back := make(chan struct{})
		go func() {
			defer close(back)
			passes(time.Minute)
			h.to.switchTo(serverOn(t, dir))
		}()
		if got, err := h.wait(recorded, 2); err != nil || got != "two" {
			t.Errorf("got the result %q and the error %v, want \"two\" and none", got, err)
		}
		<-back
	})
}
