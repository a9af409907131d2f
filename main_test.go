package tidemill_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// program is a program in a module of its own, which knows the checkout by a replace.
const program = `package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/tidemill/tidemill"
	"github.com/tidemill/tidemill/engine"
)

var Square = engine.NewFunc("square", func(ctx context.Context, n int) (int, error) {
	return n * n, nil
})

var node = flag.String("node", "mine", "a flag that Main has too")

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	switch flag.Arg(0) {
	case "fail":
		return errors.New("it failed")
	case "usage":
		return fmt.Errorf("%w: not like this", tidemill.ErrUsage)
	case "wait":
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("told to stop")
		return nil
	case "hang":
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("told to stop")
		select {}
	}
	v, err := Square.Submit(ctx, 7).Get(ctx)
	if err != nil {
		return err
	}
	fmt.Println(v, *node, os.Getenv("TIDEMILL_NODE"))
	return nil
}
`

// build makes the program in a module of its own, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	root, err := os.Getwd()
	check(t, err)
	dir := t.TempDir()
	sums, err := os.ReadFile("go.sum")
	check(t, err)
	mod, err := os.ReadFile("go.mod")
	check(t, err)
	own := strings.Replace(string(mod), "module github.com/tidemill/tidemill", "module example.com/program", 1) +
		"\nrequire github.com/tidemill/tidemill v0.0.0\nreplace github.com/tidemill/tidemill => " + root + "\n"
	check(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(own), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	cmd := exec.Command("go", "build", "-o", "program", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "program")
}

func TestProgramOfItsOwnModule(t *testing.T) {
	path := build(t)
	for _, c := range []struct {
		args string
		env  string
		code int
		out  string // what standard output and standard error say
	}{
		{"", "", 0, "49 mine \n"},
		{"-node x -namespace other -resources cpu=4,memory=8Gi,db=1", "", 0, "49 x \n"},
		{"", "TIDEMILL_NODE=y", 0, "49 mine y\n"},
		{"", "TIDEMILL_NODE=Not-a-Name", 1, "node name"},
		{"-namespace a.b", "", 1, `the Namespace of Config: queues: namespace "a.b"`},
		{"fail", "", 1, "program: it failed\n"},
		{"usage", "", 2, "program: usage: not like this\nRun \"program -h\" for help.\n"},
		{"-resources cpu", "", 2, `-resources "cpu": "cpu": want name=amount`},
		{"", "TIDEMILL_AGENT=maybe", 2, `$TIDEMILL_AGENT "maybe": want auto, on or off`},
		{"-nosuchflag", "", 2, "flag provided but not defined: -nosuchflag"},
		{"agent", "", 2, "agents in processes of their own are not built yet"},
		{"-h", "", 0, "-listen"},
	} {
		cmd := exec.Command(path, strings.Fields(c.args)...)
		cmd.Env = append(os.Environ(), c.env)
		out, err := cmd.CombinedOutput()
		if code := exitCode(err); code != c.code || !strings.Contains(string(out), c.out) {
			t.Errorf("%q with %q: exit %d, want %d:\n%s", c.args, c.env, code, c.code, out)
		}
	}
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}

// The first interrupt ends run's context, and the second one the process.
func TestInterrupts(t *testing.T) {
	path := build(t)
	for _, c := range []struct {
		arg    string
		second bool
	}{{"wait", false}, {"hang", true}} {
		cmd := exec.Command(path, c.arg)
		var out said
		out.changed = make(chan struct{}, 100)
		cmd.Stdout = &out
		check(t, cmd.Start())
		out.until("waiting\n")
		check(t, cmd.Process.Signal(syscall.SIGINT))
		out.until("waiting\ntold to stop\n")
		if c.second {
			check(t, cmd.Process.Signal(syscall.SIGINT))
		}
		err := cmd.Wait()
		var exit *exec.ExitError
		if killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled(); killed != c.second {
			t.Errorf("%s: %v", c.arg, err)
		}
	}
}

// said is what a process has written. Its writer is the goroutine of package exec.
type said struct {
	mu      sync.Mutex
	text    bytes.Buffer // guarded by mu
	changed chan struct{}
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed <- struct{}{}
	return s.text.Write(p)
}

// until returns when all that was written is this.
func (s *said) until(want string) {
	for {
		s.mu.Lock()
		have := s.text.String()
		s.mu.Unlock()
		if have == want {
			return
		}
		<-s.changed
	}
}
