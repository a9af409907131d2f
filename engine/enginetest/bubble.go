package enginetest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Run runs the test in virtual time, in a bubble of testing/synctest, with a cluster that is closed when the test ends. The
// context carries the driver's session. Virtual time passes when every goroutine waits, so CPU work takes none of it, and a
// measured run time of 0 is normal. The test may not run subtests, open sockets, start child processes or call t.Parallel.
//
// nats.go keeps timers in a sync.Pool, and a timer belongs to one bubble. If a connection reconnects in one bubble, a later
// bubble of the same process could get its timer, and the process would panic. So Run first runs the garbage collector, which
// empties such pools today, although nothing guarantees it. A test that must not depend on that uses RunAlone.
func Run(t *testing.T, cfg Config, test func(t *testing.T, ctx context.Context)) {
	t.Helper()
	emptyPools()
	synctest.Test(t, func(t *testing.T) { test(t, Start(t, cfg)) })
}

// emptyPools has the collector empty all pools. (An item of a sync.Pool lives through one collection.)
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// RunAlone is Run in a process of its own; see Bubble.
func RunAlone(t *testing.T, cfg Config, test func(t *testing.T, ctx context.Context)) {
	t.Helper()
	Bubble(t, func(t *testing.T) { test(t, Start(t, cfg)) })
}

// Bubble runs the test in a bubble of testing/synctest, as Run does, but without a cluster, and in a process of its own:
// it runs the test binary again for this test alone, and if that fails, the test fails with its output. So call Bubble at
// most once in a test or subtest, as its last statement: assignments to variables of the caller happen in the other process. If -run names this
// test exactly, as in -run '^TestX$' or -run '^TestX$/^case$', the bubble runs in the present process, where a debugger or a
// profile can see it.
func Bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if !alone(t) {
		runAlone(t)
		return
	}
	if !used.CompareAndSwap(false, true) {
		t.Fatal("enginetest: a second bubble in one process: give each bubble a test or a subtest of its own")
	}
	synctest.Test(t, test)
}

// used says that this process has had its bubble.
var used atomic.Bool

// alone reports whether this process runs the test and no other, and runs it once.
func alone(t *testing.T) bool {
	return flag.Lookup("test.run").Value.String() == exactly(t.Name()) && flag.Lookup("test.count").Value.String() == "1"
}

// exactly returns a pattern for -test.run that matches the test of this name, and no other.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// startDir is the working directory of this process when it began, "" if it has none. Files that tests and flags name are
// relative to it, also after a test has changed the working directory.
var startDir, _ = os.Getwd()

// runAlone runs the test in a process of its own.
func runAlone(t *testing.T) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatalf("enginetest: find the test binary: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), program, aloneArgs(t)...)
	cmd.Dir = startDir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	switch {
	case err != nil:
		t.Errorf("%s failed in a process of its own: %v\n%s", t.Name(), err, out.String())
	case strings.Contains(out.String(), "no tests to run"):
		t.Errorf("%s did not run in a process of its own, with the arguments %q:\n%s", t.Name(), aloneArgs(t), out.String())
	case testing.Verbose():
		t.Logf("in a process of its own:\n%s", out.String())
	}
}

// aloneArgs returns the arguments with which the test binary runs this test alone: the present ones, but for those
// of package testing.
func aloneArgs(t *testing.T) []string {
	args := []string{"-test.run=" + exactly(t.Name()), "-test.count=1", fmt.Sprint("-test.v=", testing.Verbose())}
	if deadline, ok := t.Deadline(); ok {
		left := time.Until(deadline) - 2*time.Second // it is to print its stacks before this process ends
		args = append(args, fmt.Sprint("-test.timeout=", max(time.Second, left)))
	} else {
		args = append(args, "-test.timeout=0")
	}
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, fmt.Sprintf("-%s=%s", f.Name, f.Value))
		}
	})
	return args
}
