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

// nightly is a program that is run again and again under the name of a job.
type nightly struct {
	t        *testing.T
	dir      string
	registry *engine.Registry
	answer   *engine.Func[int, string] // something random behind the input
	picky    *engine.Func[int, string] // fails while broken
	broken   atomic.Bool
	runs     atomic.Int64
}

func newNightly(t *testing.T) *nightly {
	n := &nightly{t: t, dir: t.TempDir(), registry: engine.NewRegistry()}
	n.answer = engine.NewFunc("answer", func(_ context.Context, in int) (string, error) {
		n.runs.Add(1)
		return fmt.Sprint(in, " ", rand.Text()), nil
	}, engine.In(n.registry))
	n.picky = engine.NewFunc("picky", func(context.Context, int) (string, error) {
		if n.broken.Load() {
			return "", errors.New("broken")
		}
		return "mended", nil
	}, engine.In(n.registry), engine.Retries(0))
	return n
}

// run opens the cluster, calls the program and closes.
func (n *nightly) run(program func(ctx context.Context, c *tidemill.Cluster)) {
	n.t.Helper()
	c, err := tidemill.Open(n.t.Context(), tidemill.Config{Dir: n.dir, Job: "nightly", Registry: n.registry})
	check(n.t, err)
	program(c.Context(n.t.Context()), c)
	check(n.t, c.Close(n.t.Context()))
}

// answers submits the inputs and returns the results, and how many of them were there already.
func (n *nightly) answers(ctx context.Context, inputs ...int) (results []string, resumed int) {
	n.t.Helper()
	var refs []engine.Ref[string]
	for _, in := range inputs {
		refs = append(refs, n.answer.Submit(ctx, in))
	}
	results, err := engine.GetAll(ctx, refs)
	check(n.t, err)
	for _, r := range refs {
		if r.Resumed() {
			resumed++
		}
	}
	return results, resumed
}

func passes(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// A job that is run again takes the results that it has, however long ago they were recorded, and runs
// what is new. Equal calls are told apart; when it has ended, it begins anew.
func TestAJobGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNightly(t)
		var first []string
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			var resumed int
			first, resumed = n.answers(ctx, 1, 2, 3, 3, 4)
			if resumed != 0 || n.runs.Load() != 5 || first[2] == first[3] {
				t.Errorf("%d resumed, %d runs, %q", resumed, n.runs.Load(), first)
			}
			passes(time.Hour) // the janitor is at work
		})
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			passes(time.Hour)
			again, resumed := n.answers(ctx, 4, 3, 3, 1, 5, 2) // in another order, and with something new
			if resumed != 5 || n.runs.Load() != 6 {
				t.Errorf("%d resumed, %d runs", resumed, n.runs.Load())
			}
			if got := []string{again[3], again[5], again[1], again[2], again[0]}; strings.Join(got, ",") != strings.Join(first, ",") {
				t.Errorf("first %q\nthen %q", first, again)
			}
		})
		n.run(func(ctx context.Context, c *tidemill.Cluster) {
			if _, resumed := n.answers(ctx, 1, 2, 3, 3, 4, 5); resumed != 6 {
				t.Errorf("%d resumed", resumed)
			}
			check(t, c.End(ctx))
		})
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			passes(time.Minute)
			if _, resumed := n.answers(ctx, 1, 2); resumed != 0 {
				t.Errorf("%d resumed of a job that has ended", resumed)
			}
		})
	})
}

// What had failed or was cancelled is tried anew, once in each run.
func TestAJobTriesAgainWhatHadFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNightly(t)
		n.broken.Store(true)
		for range 2 {
			n.run(func(ctx context.Context, _ *tidemill.Cluster) {
				if _, err := n.picky.Submit(ctx, 1).Get(ctx); err == nil || !strings.Contains(err.Error(), "broken") {
					t.Errorf("while it is broken: %v", err)
				}
				late := n.answer.Submit(ctx, 1, engine.Delay(time.Hour))
				check(t, late.Cancel(ctx))
				if _, err := late.Get(ctx); !errors.Is(err, engine.ErrCancelled) {
					t.Errorf("cancelled: %v", err)
				}
			})
		}
		n.broken.Store(false)
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			if v, err := n.picky.Submit(ctx, 1).Get(ctx); v != "mended" || err != nil {
				t.Errorf("mended: %q, %v", v, err)
			}
			if _, resumed := n.answers(ctx, 1); resumed != 0 {
				t.Error("a cancelled task has a result")
			}
		})
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			if r := n.picky.Submit(ctx, 1); !r.Resumed() {
				t.Error("the result of the third try is not taken")
			}
		})
	})
}

// What a run hands over is not begun, or is finished: it costs no budget, and nothing of it runs twice.
func TestAJobIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNightly(t)
		var begun, ended atomic.Int64
		slow := engine.NewFunc("slow", func(ctx context.Context, in int) (int, error) {
			begun.Add(1)
			passes(time.Minute)
			ended.Add(1)
			return in + engine.Attempt(ctx), nil
		}, engine.In(n.registry))
		submit := func(ctx context.Context) (refs []engine.Ref[int]) {
			for i := range 20 {
				refs = append(refs, slow.Submit(ctx, i))
			}
			return refs
		}
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			submit(ctx)
			check(t, engine.Flush(ctx))
			passes(150 * time.Second)
		})
		if begun.Load() != ended.Load() || begun.Load() == 20 || begun.Load() == 0 {
			t.Errorf("after the first run %d had begun, and %d ended", begun.Load(), ended.Load())
		}
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			values, err := engine.GetAll(ctx, submit(ctx))
			check(t, err)
			for i, v := range values {
				if v != i+1 {
					t.Errorf("task %d has %d: it was not its first attempt", i, v)
				}
			}
		})
		if begun.Load() != 20 {
			t.Errorf("20 tasks ran %d times", begun.Load())
		}
	})
}

// A wrong combination says what is missing.
func TestJobsNeedADirectory(t *testing.T) {
	_, err := tidemill.Open(t.Context(), tidemill.Config{Job: "a.b", Limit: 5})
	if err == nil {
		t.Fatal("it opened")
	}
	for _, says := range []string{"needs Dir", `job name "a.b"`, "33554432 or more", "Limit and Sync need Dir"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%v\ndoes not say %q", err, says)
		}
	}
}

// A task that outlives the grace of a close has no outcome: its context has ended because the run has, and the
// next one begins it anew, as it was.
func TestAnEndedGraceIsNoOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNightly(t)
		var attempts []int
		long := engine.NewFunc("long", func(ctx context.Context, in int) (int, error) {
			attempts = append(attempts, engine.Attempt(ctx))
			if len(attempts) > 1 {
				return in, nil
			}
			<-ctx.Done()
			return 0, ctx.Err()
		}, engine.In(n.registry), engine.Retries(0))
		c, err := tidemill.Open(t.Context(), tidemill.Config{Dir: n.dir, Job: "nightly", Registry: n.registry})
		check(t, err)
		long.Submit(c.Context(t.Context()), 7)
		passes(time.Second)
		grace, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Close(grace); err == nil || !strings.Contains(err.Error(), "1 tasks are still running") {
			t.Errorf("close: %v", err)
		}
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			if v, err := long.Submit(ctx, 7).Get(ctx); v != 7 || err != nil {
				t.Errorf("in the next run: %d, %v", v, err)
			}
		})
		if len(attempts) != 2 || attempts[1] != 1 {
			t.Errorf("attempts %v", attempts)
		}
	})
}

// A Map whose context is interrupted cancels nothing of a named job: what runs ends, and is recorded.
func TestAnInterruptedMapHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNightly(t)
		var ran atomic.Int64
		f := engine.NewFunc("f", func(ctx context.Context, in int) (int, error) {
			ran.Add(1)
			passes(time.Second)
			return in, ctx.Err()
		}, engine.In(n.registry))
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			ctx, interrupt := context.WithCancel(ctx)
			go func() { passes(500 * time.Millisecond); interrupt() }()
			for _, err := range engine.Map(ctx, f, slices.Values([]int{1, 2, 3, 4, 5, 6, 7, 8, 9})) {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("the map: %v", err)
				}
			}
		})
		n.run(func(ctx context.Context, _ *tidemill.Cluster) {
			sum := 0
			for v, err := range engine.Map(ctx, f, slices.Values([]int{1, 2, 3, 4, 5, 6, 7, 8, 9})) {
				check(t, err)
				sum += v
			}
			if sum != 45 || ran.Load() != 9 {
				t.Errorf("sum %d, %d runs", sum, ran.Load())
			}
		})
	})
}

// Every failure has its dead letter, also of a run that ended right behind it.
func TestLettersOfAShortRun(t *testing.T) {
	for _, job := range []string{"", "nightly"} {
		n := newNightly(t)
		n.broken.Store(true)
		cfg := tidemill.Config{Dir: n.dir, Job: job, Registry: n.registry, Sync: tidemill.NoSyncForTwoMinutes}
		c, err := tidemill.Open(t.Context(), cfg)
		check(t, err)
		ctx := c.Context(t.Context())
		for i := range 20 {
			if _, err := n.picky.Submit(ctx, i).Get(ctx); err == nil {
				t.Fatal("no failure")
			}
		}
		check(t, c.Close(t.Context()))
		if got := lettersIn(t, n.dir, "picky"); got != 20 {
			t.Errorf("job %q: %d letters", job, got)
		}
	}
}

// brokerIn opens a directory that nobody uses.
func brokerIn(t *testing.T, dir string) (b *queues.Broker, closeAll func()) {
	t.Helper()
	server, err := embedded.Start(embedded.Config{Dir: dir})
	check(t, err)
	b, err = queues.Connect(queues.Config{Namespace: "tm", Dialer: server, Storage: queues.Files})
	check(t, err)
	return b, func() { b.Close(); server.Close() }
}

// lettersIn counts the dead letters of a function in a directory that nobody uses.
func lettersIn(t *testing.T, dir, fn string) int {
	t.Helper()
	b, closeAll := brokerIn(t, dir)
	defer closeAll()
	dead, err := b.OpenDead(t.Context(), "cpu", fn)
	check(t, err)
	seen := map[string]bool{} // one whose answer was cut off may be there twice
	for e, err := range dead.Read(t.Context(), 0) {
		check(t, err)
		seen[e.Header.Get("Tm-Task")] = true
	}
	return len(seen)
}

// A run that was killed, and then runs that are interrupted before they have begun everything, charge nothing: what
// never began has lost no agent.
func TestDrainsChargeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNightly(t)
		slow := engine.NewFunc("slow", func(_ context.Context, in int) (int, error) { passes(time.Second); return in, nil }, engine.In(n.registry))
		cfg := tidemill.Config{Dir: n.dir, Job: "nightly", Registry: n.registry, Resources: map[string]float64{"cpu": 1}}
		opened := 0
		open := func(mode tidemill.AgentMode) (*tidemill.Cluster, context.Context, []engine.Ref[int]) {
			cfg.Agent = mode
			c, err := tidemill.Open(t.Context(), cfg)
			check(t, err)
			ctx := c.Context(t.Context())
			if opened++; opened%4 < 2 {
				passes(10 * time.Millisecond) // the agent has begun by then
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
			check(t, os.WriteFile(filepath.Join(n.dir, "running"), nil, 0o600)) // as a kill leaves it
			c, _, _ = open(tidemill.AgentOn)
			passes(100 * time.Millisecond)
			check(t, c.Close(t.Context()))
		}
		c, ctx, refs := open(tidemill.AgentOn)
		_, err := engine.GetAll(ctx, refs)
		check(t, err)
		check(t, c.Close(t.Context()))
		if n := lossesIn(t, n.dir, "nightly-1"); n > 0 {
			t.Errorf("%d losses were noted", n)
		}
	})
}

// lossesIn counts the losses in an owner's log in a directory that nobody uses.
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
