package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// A peer is the process of another system, which measures its rounds itself. Its first line says that it is ready. Then
// each request is a line on its standard input, and each reply a line on its standard output, in JSON. It ends when its
// standard input ends.
type peer struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	lines   chan []byte  // of its standard output; closed by read
	wait    func() error // waits for the end of the process; may be called again
	stderr  tail
	exited  bool          // the process has ended unasked, and a reply has returned the error of that
	started time.Duration // from the start of the process until it was ready
}

// A request asks for a round.
type request struct {
	Round string `json:"round"`
	N     int    `json:"n"` // amount of work; the round defines what it counts
}

// A reply is a line from a peer.
type reply struct {
	Ready  string `json:"ready"` // versions; in the first line only
	Sample sample `json:"sample"`
	Error  string `json:"error"`
}

// How long a peer may take to end before it is killed.
const (
	exitLimit = 30 * time.Second // after its standard input has ended
	killDelay = 10 * time.Second // after ctx has ended; less than grace
)

// startPeer starts a process and returns when it is ready. The end of ctx ends the process.
func startPeer(ctx context.Context, command []string) (*peer, error) {
	p := &peer{cmd: exec.CommandContext(ctx, command[0], command[1:]...), lines: make(chan []byte)}
	p.cmd.Stderr = &p.stderr
	p.cmd.Cancel = func() error { return terminate(p.cmd.Process) } // not killed at once: it has to end its own children
	p.cmd.WaitDelay = killDelay
	p.wait = sync.OnceValue(p.cmd.Wait)
	var err error
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
	go p.read(stdout) // it returns at the end of stdout; end waits for that
	first, err := p.reply(ctx)
	p.started = time.Since(start)
	if err == nil && first.Ready == "" {
		err = errors.New("the first line of the process does not say that it is ready")
	}
	if err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// read sends each line of the process to p.lines.
func (p *peer) read(stdout io.Reader) {
	defer close(p.lines)
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		p.lines <- line
	}
}

// round asks for a round and returns what the peer measured.
func (p *peer) round(ctx context.Context, r request) (sample, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	_, _ = p.stdin.Write(append(line, '\n')) // if the process has ended, the reply has the error
	answer, err := p.reply(ctx)
	if err == nil && len(answer.Sample) == 0 {
		err = errors.New("the reply has no figures")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Round, err)
	}
	return answer.Sample, nil
}

// reply waits for the next line.
func (p *peer) reply(ctx context.Context) (r reply, err error) {
	select {
	case <-ctx.Done():
		return r, context.Cause(ctx)
	case line, more := <-p.lines:
		if !more && ctx.Err() != nil { // the end of ctx has ended the process
			return r, context.Cause(ctx)
		}
		if !more {
			return r, p.exitError()
		}
		if json.Unmarshal(line, &r) != nil {
			return r, fmt.Errorf("the reply is not JSON: %.200q%s", line, p.stderr.text())
		}
		if r.Error != "" {
			return r, fmt.Errorf("%s%s", r.Error, p.stderr.text())
		}
		return r, nil
	}
}

// exitError ends a process that has closed its standard output, and returns how it ended.
func (p *peer) exitError() error {
	_ = p.end() // ProcessState has the same
	p.exited = true
	return fmt.Errorf("the process ended (%v)%s", p.cmd.ProcessState, p.stderr.text())
}

func (p *peer) pid() int { return p.cmd.Process.Pid }

// end closes the standard input of the process and waits for its end. It kills a process that takes longer than exitLimit.
func (p *peer) end() error {
	if p.exited {
		return nil
	}
	used, counted := cpuOfTree(p.pid()), childrenCPUTime()
	defer func() { uncounted.Add(int64(max(0, used-(childrenCPUTime()-counted)))) }()
	late := time.AfterFunc(exitLimit, func() { _ = p.cmd.Process.Kill() }) // Wait returns an error then
	defer late.Stop()
	_ = p.stdin.Close()        // an error says that it is closed already
	var unasked sync.WaitGroup // discards further lines: the process may be blocked writing them
	unasked.Go(func() {
		for range p.lines {
		}
	})
	err := p.wait() // it closes the pipe, so that read returns
	unasked.Wait()
	return err
}

// tailBytes is how much of the standard error of a process an error has.
const tailBytes = 2 << 10

// A tail keeps the last tailBytes that are written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte // guarded by mu
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-tailBytes):]
	return len(b), nil
}

// text returns the tail in the form that errors end with, and "" if nothing was written.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) == 0 {
		return ""
	}
	return "; its standard error ends with\n" + string(t.kept)
}
