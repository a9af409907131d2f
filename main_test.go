package tidemill_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// program is the source of a program in a module of its own, which uses this checkout by a replace directive.
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

var node = flag.String("node", "mine", "a flag that Main has as well")

func main() { tidemill.Main(run) }

func run(ctx context.Context) error {
	switch flag.Arg(0) {
	case "fail":
		return errors.New("it failed")
	case "usage":
		return fmt.Errorf("%w: wrong arguments", tidemill.ErrUsage)
	case "wait":
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("cancelled")
		return nil
	case "hang":
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("cancelled")
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

// build builds the program in a module of its own, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	name := "program"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
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
	cmd := exec.Command("go", "build", "-o", name, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, name)
}

func TestProgramOfItsOwnModule(t *testing.T) {
	path := build(t)
	for _, c := range []struct {
		args string
		env  string
		code int
		out  string // a part of what the program prints to standard output and standard error
	}{
		{"", "", 0, "49 mine \n"},
		{"-node x -namespace other -resources cpu=4,memory=8Gi,db=1", "", 0, "49 x \n"},
		{"", "TIDEMILL_NODE=y", 0, "49 mine y\n"},
		{"", "TIDEMILL_NODE=Not-a-Name", 1, "node name"},
		{"-namespace a.b", "", 1, `Config.Namespace: queues: namespace "a.b"`},
		{"fail", "", 1, "program: it failed\n"},
		{"usage", "", 2, "program: usage: wrong arguments\nRun \"program -h\" for help.\n"},
		{"-resources cpu", "", 2, `-resources "cpu": "cpu": want name=amount`},
		{"", "TIDEMILL_AGENT=maybe", 2, `$TIDEMILL_AGENT "maybe": want auto, on or off`},
		{"-nosuchflag", "", 2, "flag provided but not defined: -nosuchflag"},
		{"agent", "", 2, "separate agent processes are not implemented yet"},
		{"-h", "", 0, "-listen"},
	} {
		cmd := exec.Command(path, strings.Fields(c.args)...)
		cmd.Env = append(os.Environ(), c.env)
		out, err := cmd.CombinedOutput()
		if code := exitCode(err); code != c.code || !strings.Contains(string(out), c.out) {
			t.Errorf("arguments %q, environment %q: got exit code %d, want %d; got output:\n%s\nwant in it: %q", c.args, c.env, code, c.code, out, c.out)
		}
	}
}

func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return 0
}
