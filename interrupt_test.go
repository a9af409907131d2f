//go:build unix

package tidemill_test

import (
	"bufio"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// The first interrupt cancels run's context, and the second one ends the process.
func TestInterrupts(t *testing.T) {
	path := build(t)
	for _, c := range []struct {
		arg    string
		second bool
	}{{"wait", false}, {"hang", true}} {
		cmd := exec.Command(path, c.arg)
		stdout, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // a bound on all that follows
		out := bufio.NewReader(stdout)
		wantLine(t, out, "waiting\n")
		check(t, cmd.Process.Signal(syscall.SIGINT))
		wantLine(t, out, "cancelled\n")
		if c.second {
			check(t, cmd.Process.Signal(syscall.SIGINT))
		}
		err = cmd.Wait()
		if !kill.Stop() {
			t.Fatalf("%s: the program did not end within a minute", c.arg)
		}
		var exit *exec.ExitError
		if interrupted := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGINT; interrupted != c.second {
			t.Errorf("%s: the program ended with %v; want that the signal ended it: %t", c.arg, err, c.second)
		}
	}
}

// wantLine reads the next line of a program's output. It ends with the program, which the caller must bound.
func wantLine(t *testing.T, out *bufio.Reader, want string) {
	t.Helper()
	if got, err := out.ReadString('\n'); got != want || err != nil {
		t.Fatalf("the program printed %q (%v), want %q", got, err, want)
	}
}
