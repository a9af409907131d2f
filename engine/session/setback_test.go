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
		t.Run("job "+job, func(t *testing.T) { enginetest.Bubble(t, func(t *testing.T) { goBack(t, job) }) })
	}
}

// jobRig opens sessions on a stage, and stands in for their agents.
type jobRig struct {
	*testing.T
	on       *stage
	registry *registry.Registry // nil = one that has f
}

func (j *jobRig) open(job string) *session.Session {
	j.Helper()
	if j.registry == nil {
		j.registry = registry.New()
		check(j.T, j.registry.Add(&registry.Function{Name: "f"}))
	}
	cfg := session.Config{Owner: "me", Job: job, Registry: j.registry, Logger: slog.New(slog.DiscardHandler)}
	s, err := session.Open(j.Context(), brokerOn(j.T, j.on), cfg)
	check(j.T, err)
	return s
}

func (j *jobRig) submit(s *session.Session, input byte) *session.Handle {
	return s.Submit(j.Context(), &session.Order{Template: &session.Template{Func: "f"}, Input: task.Value{Data: []byte{input}}}, nil)
}

// record draws the task that has this input, and records its result.
func (j *jobRig) record(s *session.Session, b *queues.Broker, h *session.Handle, input byte, value string) {
	j.Helper()
	number := drawOn(j.T, j.Context(), b, input)
	log, err := b.OpenLog(j.Context(), b.Log(s.Owner()))
	check(j.T, err)
	e := ok(number, value)
	e.Digest = h.Digest()
	check(j.T, log.Append(j.Context(), queues.Message{Data: encode(s.Owner(), e)}))
	check(j.T, h.Wait(j.Context()))
}

func goBack(t *testing.T, job string) {
	dir, backup := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir")
	first := serverOn(t, dir)
	on := &stage{server: first}
	j := &jobRig{T: t, on: on}
	s := j.open(job)
	submit, record := j.submit, func(b *queues.Broker, h *session.Handle, input byte, value string) {
		t.Helper()
		j.record(s, b, h, input, value)
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
			var v task.Value
			if err := h.Outcome(t.Context(), &v); err != nil || string(v.Data) != want[input] {
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
	s = j.open(job)
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

// mixOld has the backup's log of records be that of an earlier one: its tail was lost, and no more.
func mixOld(t *testing.T, backup, earlier string) {
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

// A result of a former run that nobody has looked at yet, and that is lost with the end of a log, is lost: what
// stands in its place later is not taken for it.
func TestAResultThatIsGone(t *testing.T) {
	enginetest.Bubble(t, func(t *testing.T) {
		dir, earlier, backup := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir")
		first := serverOn(t, dir)
		j := &jobRig{T: t, on: &stage{server: first}}
		s := j.open("j")
		b := brokerOn(t, j.on)
		j.record(s, b, j.submit(s, 1), 1, "zero")
		passes(time.Minute)
		check(t, os.CopyFS(earlier, os.DirFS(dir)))
		j.record(s, b, j.submit(s, 2), 2, "one")
		s.Close()
		s = j.open("j")
		defer s.Close()
		one := j.submit(s, 2)
		passes(time.Minute)
		check(t, os.CopyFS(backup, os.DirFS(dir)))
		mixOld(t, backup, earlier)
		second := serverOn(t, backup)
		j.on.put(second)
		first.Close()
		passes(time.Minute)
		two := j.submit(s, 3)
		j.record(s, brokerOn(t, second), two, 3, "two")
		var v task.Value
		if err := one.Outcome(t.Context(), &v); err == nil {
			t.Errorf("its result is %q", v.Data)
		}
	})
}

// A message that has the sequence of another one, which an agent still holds of a stream that was there before,
// is another message.
func TestASequenceOfAnotherMessage(t *testing.T) {
	enginetest.Bubble(t, func(t *testing.T) {
		dir, backup := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "dir")
		first := serverOn(t, dir)
		j := &jobRig{T: t, on: &stage{server: first}, registry: registry.New()}
		release, ran := make(chan struct{}), [256]atomic.Int32{} // by input; two slots count
		check(t, j.registry.Add(&registry.Function{Name: "f", Invoke: func(_ context.Context, in *task.Value, dst []byte) (task.Value, error) {
			if n := ran[in.Data[0]].Add(1); in.Data[0] == 'A' && n == 1 {
				<-release
			}
			return task.Value{Data: append(dst, in.Data...)}, nil
		}}))
		s := j.open("")
		defer s.Close()
		resources, err := task.NewResources(map[string]float64{"cpu": 2})
		check(t, err)
		agent, err := nodeagent.Start(t.Context(), brokerOn(t, j.on), nodeagent.Config{
			NodeID: "n1", Resources: resources, Registry: j.registry, Logger: slog.New(slog.DiscardHandler),
		})
		check(t, err)
		defer func() { check(t, agent.Close(t.Context())) }()
		check(t, j.submit(s, '0').Wait(t.Context()))
		passes(time.Minute)
		check(t, os.CopyFS(backup, os.DirFS(dir)))
		check(t, j.submit(s, 'X').Wait(t.Context()))
		a := j.submit(s, 'A')
		check(t, s.Flush(t.Context()))
		passes(time.Second)
		second := serverOn(t, backup)
		j.on.put(second)
		first.Close()
		passes(20 * time.Second)
		check(t, a.Wait(t.Context()))
		d := j.submit(s, 'D')
		check(t, s.Flush(t.Context()))
		passes(time.Minute)
		close(release)
		passes(5 * time.Minute)
		if !d.Ended() {
			t.Errorf("minutes later it has no outcome: it ran %d times", ran['D'].Load())
		}
	})
}

// A result that a former run has recorded is there, however long its server is away when somebody asks for it.
func TestARecordedResultIsWaitedFor(t *testing.T) {
	enginetest.Bubble(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "dir")
		first := serverOn(t, dir)
		j := &jobRig{T: t, on: &stage{server: first}}
		s := j.open("j")
		j.record(s, brokerOn(t, j.on), j.submit(s, 2), 2, "two")
		s.Close()
		s = j.open("j")
		defer s.Close()
		recorded := j.submit(s, 2)
		if !recorded.Resumed() {
			t.Fatal("it runs again")
		}
		first.Close()
		back := make(chan struct{})
		go func() {
			defer close(back)
			passes(time.Minute)
			j.on.put(serverOn(t, dir))
		}()
		var v task.Value
		if err := recorded.Outcome(t.Context(), &v); err != nil || string(v.Data) != "two" {
			t.Errorf("%q, %v", v.Data, err)
		}
		<-back
	})
}
