package tidemill_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
	"github.com/tidemill/tidemill/queues/embedded"
)

// jobHarness runs programs under the name of the job "nightly", one after the other.
type jobHarness struct {
	t        *testing.T
	dir      string
	registry *engine.Registry
	answer   *engine.Func[int, string] // returns its input and something random
	picky    *engine.Func[int, string] // fails while broken is set
	broken   atomic.Bool
	runs     atomic.Int64 // executions of answer
}

func newJobHarness(t *testing.T) *jobHarness {
	h := &jobHarness{t: t, dir: t.TempDir(), registry: engine.NewRegistry()}
	h.answer = engine.NewFunc("answer", func(_ context.Context, in int) (string, error) {
		h.runs.Add(1)
		return fmt.Sprint(in, " ", rand.Text()), nil
	}, engine.In(h.registry))
	h.picky = engine.NewFunc("picky", func(context.Context, int) (string, error) {
		if h.broken.Load() {
			return "", errors.New("broken")
		}
		return "mended", nil
	}, engine.In(h.registry), engine.Retries(0))
	return h
}

// run is one run of the job: it opens a cluster, calls the program and closes the cluster.
func (h *jobHarness) run(program func(ctx context.Context, c *tidemill.Cluster)) {
	h.t.Helper()
	c, err := tidemill.Open(h.t.Context(), tidemill.Config{Dir: h.dir, Job: "nightly", Registry: h.registry})
	check(h.t, err)
	program(c.Context(h.t.Context()), c)
	check(h.t, c.Close(h.t.Context()))
}

// answers calls answer with each input. It returns the results, and how many of them were taken from a former run.
func (h *jobHarness) answers(ctx context.Context, inputs ...int) (results []string, resumed int) {
	h.t.Helper()
	var refs []engine.Ref[string]
	for _, in := range inputs {
		refs = append(refs, h.answer.Submit(ctx, in))
	}
	results, err := engine.GetAll(ctx, refs)
	check(h.t, err)
	for _, r := range refs {
		if r.Resumed() {
			resumed++
		}
	}
	return results, resumed
}

// passes returns when so much time has passed, which in a bubble is virtual time.
func passes(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// A job that is run again takes the results of former runs, however long ago they were recorded, and executes the calls that
// are new. Equal calls have results of their own. When the job has ended, its next run executes all calls again.
func TestAJobGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newJobHarness(t)
		var first []string
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			var resumed int
			first, resumed = h.answers(ctx, 1, 2, 3, 3, 4)
			if resumed != 0 || h.runs.Load() != 5 || first[2] == first[3] {
				t.Errorf("first run: %d results resumed, %d executions, results %q; want 0 and 5, and two results for the equal calls",
					resumed, h.runs.Load(), first)
			}
			passes(time.Hour) // time for the janitor to remove what it should not
		})
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			passes(time.Hour)
			again, resumed := h.answers(ctx, 4, 3, 3, 1, 5, 2) // in another order, and with a new input
			if resumed != 5 || h.runs.Load() != 6 {
				t.Errorf("second run: %d results resumed, %d executions in all; want 5 and 6", resumed, h.runs.Load())
			}
			if got := []string{again[3], again[5], again[1], again[2], again[0]}; strings.Join(got, ",") != strings.Join(first, ",") {
				t.Errorf("second run: got the results %q, want those of the first run, %q", got, first)
			}
		})
		h.run(func(ctx context.Context, c *tidemill.Cluster) {
			if _, resumed := h.answers(ctx, 1, 2, 3, 3, 4, 5); resumed != 6 {
				t.Errorf("third run: %d results resumed, want 6", resumed)
			}
			check(t, c.End(ctx))
		})
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			passes(time.Minute)
			if _, resumed := h.answers(ctx, 1, 2); resumed != 0 {
				t.Errorf("after the end of the job: %d results resumed, want 0", resumed)
			}
		})
	})
}

// A task that had failed or was cancelled in a former run is executed again, once in each run.
func TestAJobTriesAgainWhatHadFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newJobHarness(t)
		h.broken.Store(true)
		for range 2 {
			h.run(func(ctx context.Context, _ *tidemill.Cluster) {
				if _, err := h.picky.Submit(ctx, 1).Get(ctx); err == nil || !strings.Contains(err.Error(), "broken") {
					t.Errorf("while the function is broken: got the error %v, want \"broken\"", err)
				}
				late := h.answer.Submit(ctx, 1, engine.Delay(time.Hour))
				check(t, late.Cancel(ctx))
				if _, err := late.Get(ctx); !errors.Is(err, engine.ErrCancelled) {
					t.Errorf("a cancelled task: got %v, want %v", err, engine.ErrCancelled)
				}
			})
		}
		h.broken.Store(false)
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			if v, err := h.picky.Submit(ctx, 1).Get(ctx); v != "mended" || err != nil {
				t.Errorf("after the function was mended: got %q and the error %v, want \"mended\" and none", v, err)
			}
			if _, resumed := h.answers(ctx, 1); resumed != 0 {
				t.Errorf("%d results of the cancelled task were resumed, want 0", resumed)
			}
		})
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			if r := h.picky.Submit(ctx, 1); !r.Resumed() {
				t.Error("the result of the third run is not resumed, want it resumed")
			}
		})
	})
}

// When a run closes, tasks that run come to their end, and the others are left to the next run. No task runs twice, and none
// loses an attempt by it.
func TestARunLeavesTheRestToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newJobHarness(t)
		var begun, ended atomic.Int64
		slow := engine.NewFunc("slow", func(ctx context.Context, in int) (int, error) {
			begun.Add(1)
			passes(time.Minute)
			ended.Add(1)
			return in + engine.Attempt(ctx), nil
		}, engine.In(h.registry))
		submit := func(ctx context.Context) (refs []engine.Ref[int]) {
			for i := range 20 {
				refs = append(refs, slow.Submit(ctx, i))
			}
			return refs
		}
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			submit(ctx)
			check(t, engine.Flush(ctx))
			passes(150 * time.Second)
		})
		if begun.Load() != ended.Load() || begun.Load() == 20 || begun.Load() == 0 {
			t.Errorf("in the first run %d tasks began and %d ended, want equal numbers, more than 0 and less than 20", begun.Load(), ended.Load())
		}
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			values, err := engine.GetAll(ctx, submit(ctx))
			check(t, err)
			for i, v := range values {
				if v != i+1 {
					t.Errorf("task %d returned %d, want %d, which says that it was the first attempt", i, v, i+1)
				}
			}
		})
		if begun.Load() != 20 {
			t.Errorf("20 tasks were executed %d times, want 20", begun.Load())
		}
	})
}

// The error for a Config whose fields do not fit together names all of them.
func TestJobsNeedADirectory(t *testing.T) {
	_, err := tidemill.Open(t.Context(), tidemill.Config{Job: "a.b", Limit: 5})
	if err == nil {
		t.Fatal("Open returned no error, want one")
	}
	for _, says := range []string{"needs Dir", `job name "a.b"`, "33554432 or more", "Limit: it applies"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("got the error %q, want it to say %q", err, says)
		}
	}
}

// A task that still runs when the grace period of Close is over has no outcome: its context ended only because the run did.
// The next run executes it again, with the same attempt number.
func TestATaskThatOutlivesCloseHasNoOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newJobHarness(t)
		var attempts []int
		long := engine.NewFunc("long", func(ctx context.Context, in int) (int, error) {
			attempts = append(attempts, engine.Attempt(ctx))
			if len(attempts) > 1 {
				return in, nil
			}
			<-ctx.Done()
			return 0, ctx.Err()
		}, engine.In(h.registry), engine.Retries(0))
		c, err := tidemill.Open(t.Context(), tidemill.Config{Dir: h.dir, Job: "nightly", Registry: h.registry})
		check(t, err)
		long.Submit(c.Context(t.Context()), 7)
		passes(time.Second)
		grace, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(grace); err == nil || !strings.Contains(err.Error(), "tasks are still running: 1 of long") {
			t.Errorf("Close: got the error %v, want \"tasks are still running: 1 of long\"", err)
		}
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			if v, err := long.Submit(ctx, 7).Get(ctx); v != 7 || err != nil {
				t.Errorf("in the next run: got %d and the error %v, want 7 and none", v, err)
			}
		})
		if len(attempts) != 2 || attempts[1] != 1 {
			t.Errorf("got the attempts %v, want [1 1]", attempts)
		}
	})
}

// A Map of a named job whose context ends cancels no task: tasks that run come to their end and are recorded.
func TestAnInterruptedMapHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newJobHarness(t)
		var ran atomic.Int64
		f := engine.NewFunc("f", func(ctx context.Context, in int) (int, error) {
			ran.Add(1)
			passes(time.Second)
			return in, ctx.Err()
		}, engine.In(h.registry))
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			ctx, interrupt := context.WithCancel(ctx)
			go func() { passes(500 * time.Millisecond); interrupt() }()
			for _, err := range engine.Map(ctx, f, slices.Values([]int{1, 2, 3, 4, 5, 6, 7, 8, 9})) {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Map: got the error %v, want %v", err, context.Canceled)
				}
			}
		})
		h.run(func(ctx context.Context, _ *tidemill.Cluster) {
			sum := 0
			for v, err := range engine.Map(ctx, f, slices.Values([]int{1, 2, 3, 4, 5, 6, 7, 8, 9})) {
				check(t, err)
				sum += v
			}
			if sum != 45 || ran.Load() != 9 {
				t.Errorf("got the sum %d after %d executions, want 45 after 9", sum, ran.Load())
			}
		})
	})
}

// Every failure has its dead letter, also if the run ends right after it.
func TestDeadLettersOfAShortRun(t *testing.T) {
	for _, job := range []string{"", "nightly"} {
		h := newJobHarness(t)
		h.broken.Store(true)
		cfg := tidemill.Config{Dir: h.dir, Job: job, Registry: h.registry, Sync: tidemill.NoSyncForTwoMinutes}
		c, err := tidemill.Open(t.Context(), cfg)
		check(t, err)
		ctx := c.Context(t.Context())
		for i := range 20 {
			if v, err := h.picky.Submit(ctx, i).Get(ctx); err == nil {
				t.Fatalf("task %d returned %q, want a failure", i, v)
			}
		}
		check(t, c.Close(t.Context()))
		if got := lettersIn(t, h.dir, "picky"); got != 20 {
			t.Errorf("job %q: %d dead letters, want 20", job, got)
		}
	}
}

// brokerIn starts a server on a directory that no process uses, and returns a broker of it.
func brokerIn(t *testing.T, dir string) (b *queues.Broker, closeAll func()) {
	t.Helper()
	server, err := embedded.Start(embedded.Config{Dir: dir})
	check(t, err)
	b, err = queues.Connect(queues.Config{Namespace: "tm", Dialer: server, Storage: queues.Files})
	check(t, err)
	return b, func() { b.Close(); server.Close() }
}

// lettersIn counts the dead letters of a function in a directory that no process uses.
func lettersIn(t *testing.T, dir, fn string) int {
	t.Helper()
	b, closeAll := brokerIn(t, dir)
	defer closeAll()
	dead, err := b.OpenDead(t.Context(), "cpu", fn)
	check(t, err)
	seen := map[string]bool{} // by task: a letter whose ack was lost may be there twice
	for e, err := range dead.Read(t.Context(), 0) {
		check(t, err)
		seen[e.Header.Get("Tm-Task")] = true
	}
	return len(seen)
}

// Tasks that no agent has begun are charged no loss, neither by a run that was killed nor by runs that were interrupted.
func TestTasksThatNeverBeganAreChargedNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newJobHarness(t)
		slow := engine.NewFunc("slow", func(_ context.Context, in int) (int, error) { passes(time.Second); return in, nil }, engine.In(h.registry))
		cfg := tidemill.Config{Dir: h.dir, Job: "nightly", Registry: h.registry, Resources: map[string]float64{"cpu": 1}}
		opened := 0
		open := func(mode tidemill.AgentMode) (*tidemill.Cluster, context.Context, []engine.Ref[int]) {
			cfg.Agent = mode
			c, err := tidemill.Open(t.Context(), cfg)
			check(t, err)
			ctx := c.Context(t.Context())
			if opened++; opened%4 < 2 {
				passes(10 * time.Millisecond) // the agent has started by then
			}
			var refs []engine.Ref[int]
			for i := range 30 {
				refs = append(refs, slow.Submit(ctx, i))
			}
			check(t, engine.Flush(ctx))
			return c, ctx, refs
		}
		for range 12 {
			c, _, _ := open(tidemill.AgentOff)
			check(t, c.Close(t.Context()))
			check(t, os.WriteFile(filepath.Join(h.dir, "running"), nil, 0o600)) // as a kill leaves it
			c, _, _ = open(tidemill.AgentOn)
			passes(100 * time.Millisecond)
			check(t, c.Close(t.Context()))
		}
		c, ctx, refs := open(tidemill.AgentOn)
		_, err := engine.GetAll(ctx, refs)
		check(t, err)
		check(t, c.Close(t.Context()))
		if n := lossesIn(t, h.dir, "nightly-1"); n > 0 {
			t.Errorf("a task was charged %d losses, want 0", n)
		}
	})
}

// lossesIn returns how many losses the task with most of them has in an owner's log, in a directory that no process uses.
func lossesIn(t *testing.T, dir, owner string) (losses int) {
	t.Helper()
	b, closeAll := brokerIn(t, dir)
	defer closeAll()
	log, err := b.OpenLog(t.Context(), b.Log(owner))
	check(t, err)
	var rec task.Record
	for e, err := range log.Read(t.Context(), 0) {
		check(t, err)
		check(t, task.DecodeRecord(e.Data, &rec))
		for _, entry := range rec.Entries {
			losses = max(losses, int(entry.Losses))
			if entry.State == task.Lost {
				losses = max(losses, int(entry.Losses)+1)
			}
		}
	}
	return losses
}
