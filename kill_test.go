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
	kills = flag.Int("kills", 1, "how many jobs TestKilled kills at each place, and at random times")
	demos = flag.String("demo", ".", "the `tree` that the demo counts while TestKilled kills it")
)

// places are where failpoints stand.
var places = []string{
	"publish.before", "publish.after", "deliver.before", "deliver.after", "store.before", "store.after",
	"record.before", "record.after", "ack.before", "ack.after", "fold.before", "fold.after", "lease.before", "lease.after",
}

// What else the table of kills has a line for.
const (
	anyTime  = "any time"
	demoKill = "demo, any time"
	power    = "power loss"
)

// TestKilled runs named jobs that are killed by SIGKILL, at chosen places in the code or at random times,
// and runs them again: nothing that was acknowledged is lost, no outcome that was recorded or seen changes,
// and what had one is not executed again.
func TestKilled(t *testing.T) {
	table := tally{}
	t.Run("places", func(t *testing.T) {
		program := buildVictim(t, "./testdata/killed")
		for _, place := range places {
			for range *kills {
				v := newVictim(t, program)
				v.killAt(place, 1+rand.IntN(3))
				v.killAt(place, 1+rand.IntN(20))
				table.add(place, v)
			}
		}
	})
	t.Run("random", func(t *testing.T) {
		program := buildVictim(t, "./testdata/killed")
		for range *kills {
			v := newVictim(t, program)
			for range 10 {
				v.killAfter(time.Duration(10+rand.IntN(120)) * time.Millisecond)
			}
			table.add(anyTime, v)
		}
	})
	t.Run("demo", func(t *testing.T) {
		program := buildVictim(t, "./examples/srcstats")
		begun := time.Now()
		want := newDemo(t, program, "").report()
		took := time.Since(begun)
		for range *kills {
			killed := false
			for tries := 0; !killed && tries < 50; tries++ { // it may end sooner than it is killed
				v := newDemo(t, program, "demo")
				for range 10 {
					v.killAfter(rand.N(took))
				}
				v.finish()
				v.compare(want)
				table.add(demoKill, v)
				killed = v.killed > 0
			}
		}
	})
	table.check(t)
}

// An interrupt hands a job over: what runs ends and is recorded, what has not begun is not begun, and the
// next run goes on from there. It costs nothing: each task runs once, and the second time where its first
// attempt fails.
func TestAnInterruptHandsOver(t *testing.T) {
	v := newVictim(t, buildVictim(t, "./testdata/killed"))
	v.args = append(v.args, "-takes", "5ms")
	for v.interruptAfter(20) {
		v.look()
		for n, count := range v.executions {
			if _, recorded := v.recordedTask(n); !recorded && n%7 != 0 {
				t.Errorf("task %d began %d times, and its end is not recorded", n, count)
			}
		}
	}
	if v.runs < 3 {
		t.Errorf("only %d runs: none was interrupted", v.runs)
	}
	v.done = true
	v.checkSeen()
	for n, count := range v.executionsNow() {
		want := 1
		if n%7 == 0 {
			want = 2
		}
		if count != want {
			t.Errorf("task %d ran %d times, want %d", n, count, want)
		}
	}
}

func buildVictim(t *testing.T, pkg string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// wasKilled reports whether a command ended by SIGKILL.
func wasKilled(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
}

// tally is a table of what was tried.
type tally map[string]*tallied

type tallied struct{ jobs, runs, kills, resumed, lost, changed int }

// add finishes the job and adds up what became of it.
func (t tally) add(place string, v *victim) {
	v.finish()
	if t[place] == nil {
		t[place] = &tallied{}
	}
	row := t[place]
	row.jobs++
	row.runs += v.runs
	row.kills += v.killed
	row.resumed += v.resumed
	row.lost += v.lost
	row.changed += v.changed
}

// check prints the table, and fails if something was lost or changed, or a place was never reached.
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
			test.Errorf("%s was never reached", place)
		}
		if row.lost+row.changed > 0 {
			test.Errorf("%s: %d outcomes or tasks were lost, %d changed", place, row.lost, row.changed)
		}
	}
	test.Log("\n" + table.String())
}

// A task that kills its process each time is one loss for each run, after the first one, of which nothing could be
// noted; from the third on it runs alone; ten losses end it, and nobody else.
func TestPoisonInAProcess(t *testing.T) {
	program := buildVictim(t, "./testdata/poison")
	dir := filepath.Join(t.TempDir(), "dir")
	for run := 1; ; run++ {
		out, err := exec.Command(program, "-dir", dir, "-job", "j").CombinedOutput()
		if err == nil {
			if run < 11 || run > 13 {
				t.Errorf("it took %d runs", run)
			}
			return
		}
		if !wasKilled(err) || run > 13 {
			t.Fatalf("run %d: %v\n%s", run, err, out)
		}
	}
}
