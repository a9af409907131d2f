package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/tidemill/tidemill"
)

// childVariable is the environment variable that makes this program a child, which is measured. Its value is the role.
const childVariable = "TIDEMILL_BENCH_CHILD"

// Roles of children. Each prints a line, and then waits for the end of its standard input.
const (
	tinyProgram = "tiny" // opens a cluster, runs one task and prints its result
	bareProgram = "bare" // prints the same line at once
)

// child is the main function of a child. The child ends with its parent, since that closes the pipe to standard input.
func child(role string) {
	if role == tinyProgram {
		tidemill.Main(func(ctx context.Context) error {
			n, err := Noop.Submit(ctx, 49).Get(ctx)
			if err != nil {
				return err
			}
			return printAndWait(n)
		})
	}
	if err := printAndWait(49); err != nil {
		os.Exit(1)
	}
}

func printAndWait(n int) error {
	if _, err := fmt.Println(n); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// A process is a running child, in its parent.
type process struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	started time.Duration // from the start of the process to its first line
}

// startProcess starts a child and returns after its first line. The end of ctx kills the child.
func startProcess(ctx context.Context, role string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self)}
	p.cmd.Env = append(os.Environ(), childVariable+"="+role)
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	p.started = time.Since(start)
	if err == nil && line != "49\n" {
		err = fmt.Errorf("the first line of the child is %q, want %q", line, "49\n")
	}
	if err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// end closes the standard input of the child, which ends it, and waits for it.
func (p *process) end() error {
	return errors.Join(p.stdin.Close(), p.cmd.Wait())
}
