//go:build unix

package tidemill_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	kills = flag.Int("kills", 1, "how many jobs TestKilled kills at each place, and how many at random times")
	demos = flag.String("demo", ".", "the `tree` that the demo counts while TestKilled kills it")
	seed  = flag.Uint64("seed", 1, "seed of the random kill times and counts of TestKilled and TestPowerLoss")
)

// random returns a generator that depends on -seed and on what it is for, and not on other tests.
func random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(*seed, stream)) }

// repeat logs the seed of a test, and the command that runs the test with the same one. That repeats the kills, though not
// the schedule of goroutines and processes.
func repeat(t *testing.T, flags string) {
	t.Helper()
	t.Logf("to repeat it: go test . -count=1 -v -run '^%s$' -seed=%d -kills=%d%s", t.Name(), *seed, *kills, flags)
}

// places are the names of the failpoints in the code.
var places = []string{
	"publish.before", "publish.after", "deliver.before", "deliver.after", "store.before", "store.after",
	"record.before", "record.after", "ack.before", "ack.after", "fold.before", "fold.after", "lease.before", "lease.after",
}

// Other rows in the table of kills.
const (
	anyTime  = "any time"
	demoKill = "demo, any time"
	power    = "power loss"
)

// TestKilled runs named jobs that are killed by SIGKILL, at failpoints or at random times, and runs them again: no task or
// outcome that was acknowledged is lost, no outcome that was recorded or seen changes, and no task that had an outcome is
// executed again.
func TestKilled(t *testing.T) {
	repeat(t, fmt.Sprintf(" -demo=%q", *demos))
	table := tally{}
	t.Run("places", func(t *testing.T) {
		program, rng := buildProgram(t, "./testdata/killed"), random(1)
		for _, place := range places {
			for range *kills {
				h := newHarness(t, program)
				h.killAt(place, 1+rng.IntN(3))
				h.killAt(place, 1+rng.IntN(20))
				table.add(place, h)
			}
		}
	})
	t.Run("random", func(t *testing.T) {
		program, rng := buildProgram(t, "./testdata/killed"), random(2)
		for range *kills {
			h := newHarness(t, program)
			for range 10 {
				h.killAfter(time.Duration(10+rng.IntN(120)) * time.Millisecond)
			}
			table.add(anyTime, h)
		}
	})
	t.Run("demo", func(t *testing.T) {
		program, rng := buildProgram(t, "./examples/srcstats"), random(3)
		begun := time.Now()
		want := newDemo(t, program, "").report()
		took := time.Since(begun)
		for range *kills {
			killed := false
			for tries := 0; !killed && tries < 50; tries++ { // a job may end before it is killed
				h := newDemo(t, program, "demo")
				for range 10 {
					h.killAfter(time.Duration(rng.Int64N(int64(took))))
				}
				h.finish()
				h.compare(want)
				table.add(demoKill, h)
				killed = h.killed > 0
			}
		}
	})
	table.check(t)
}

// An interrupted job ends the tasks that run, records them, and begins no other; the next run goes on from there. No task
// runs more often than without the interrupts: once, or twice if its first attempt fails.
func TestAnInterruptHandsOver(t *testing.T) {
	const tasksPerRun, limit = 20, 2 * killedTasks / 20
	h := newHarness(t, buildProgram(t, "./testdata/killed"))
	h.args = append(h.args, "-takes", "5ms")
	for h.interruptAfter(tasksPerRun) {
		h.look()
		for n, count := range h.executions {
			if _, recorded := h.recordedTask(n); !recorded && n%7 != 0 {
				t.Errorf("task %d began %d times and its end is not recorded, want it recorded", n, count)
			}
		}
		if h.runs > limit {
			t.Fatalf("the job has not ended after %d runs with %d tasks each, want it to end", h.runs, tasksPerRun)
		}
	}
	if h.runs < 3 {
		t.Errorf("the job took %d runs, want at least 3: too few were interrupted", h.runs)
	}
	h.done = true
	h.checkSeen()
	for n, count := range h.executionsNow() {
		want := 1
		if n%7 == 0 {
			want = 2
		}
		if count != want {
			t.Errorf("task %d ran %d times, want %d", n, count, want)
		}
	}
}

// buildProgram builds the program of a package, with failpoints, and returns its path.
func buildProgram(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return path
}

// wasKilled reports whether a command ended by SIGKILL.
func wasKilled(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// tally is the table of all kills, by place.
type tally map[string]*tallied

type tallied struct{ jobs, runs, kills, resumed, lost, changed int }

// add runs the job to its end and adds it to the row of the place.
func (t tally) add(place string, h *harness) {
	h.finish()
	if t[place] == nil {
		t[place] = &tallied{}
	}
	row := t[place]
	row.jobs++
	row.runs += h.runs
	row.kills += h.killed
	row.resumed += h.resumed
	row.lost += h.lost
	row.changed += h.changed
}

// check prints the table, and fails the test if something was lost or changed, or a place was never reached.
func (t tally) check(test *testing.T) {
	test.Helper()
	var table strings.Builder
	fmt.Fprintf(&table, "%-15s %6s %6s %6s %9s %6s %8s\n", "place", "jobs", "runs", "kills", "resumed", "lost", "changed")
	for _, place := range append(places, anyTime, demoKill, power) {
		row := t[place]
		if row == nil {
			continue
		}
		fmt.Fprintf(&table, "%-15s %6d %6d %6d %9d %6d %8d\n", place, row.jobs, row.runs, row.kills, row.resumed, row.lost, row.changed)
		if row.kills == 0 {
			test.Errorf("%s: no job was killed there, want at least one", place)
		}
		if row.lost+row.changed > 0 {
			test.Errorf("%s: %d outcomes or tasks were lost and %d have changed, want none", place, row.lost, row.changed)
		}
	}
	test.Log("\n" + table.String())
}

// A task that kills its process each time fails after ten losses, and no other task fails. Each run is one loss, but the
// first one, which ends before anything can be recorded; from the third loss on, the task runs alone.
func TestPoisonInAProcess(t *testing.T) {
	const fewest, most = 11, 13
	program := buildProgram(t, "./testdata/poison")
	dir := filepath.Join(t.TempDir(), "dir")
	for run := 1; ; run++ {
		out, err := exec.Command(program, "-dir", dir, "-job", "j").CombinedOutput()
		if err == nil {
			if run < fewest || run > most {
				t.Errorf("the job took %d runs, want %d to %d", run, fewest, most)
			}
			return
		}
		if !wasKilled(err) || run > most {
			t.Fatalf("run %d ended with %v, want SIGKILL, or no error in one of the runs %d to %d\n%s", run, err, fewest, most, out)
		}
	}
}
