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
	"syscall"
	"time"
)

// A peer is another system, in a process of its own that takes the times itself. Its first line tells that it is
// ready. Then each request is a line to it, and each answer a line from it, in JSON; it ends with its standard input.
type peer struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	lines   chan []byte   // from its standard output; closed at the end of that
	wait    func() error  // for the process's end; again and again it returns the same
	words   tail          // of its standard error
	dead    bool          // an answer's error has told how it ended
	started time.Duration // from before exec until it was ready
}

// A request asks for a round.
type request struct {
	Round string `json:"round"`
	N     int    `json:"n"` // how much of it: what is counted is the round's matter
}

// A reply is a line of a peer.
type reply struct {
	Ready  string `json:"ready"` // versions: in the first line
	Sample sample `json:"sample"`
	Error  string `json:"error"`
}

// How long a peer has for its end.
const (
	leave = 30 * time.Second // when its standard input has ended
	stop  = 10 * time.Second // when ctx has, within the runner's grace
)

// startPeer starts a process and returns when it is ready. ctx ends it.
func startPeer(ctx context.Context, command []string) (*peer, error) {
	p := &peer{cmd: exec.CommandContext(ctx, command[0], command[1:]...), lines: make(chan []byte)}
	p.cmd.Stderr = &p.words
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) } // it has children of its own to end
	p.cmd.WaitDelay = stop
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
	go p.read(stdout) // until end, which waits for it
	first, err := p.reply(ctx)
	p.started = time.Since(start)
	if err == nil && first.Ready == "" {
		err = errors.New("its first line does not say that it is ready")
	}
	if err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// read hands the process's lines on.
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
	_, _ = p.stdin.Write(append(line, '\n')) // if nobody reads it, the reply's error tells why
	answer, err := p.reply(ctx)
	if err == nil && len(answer.Sample) == 0 {
		err = errors.New("nothing was measured")
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
		if !more && ctx.Err() != nil { // which has ended it
			return r, context.Cause(ctx)
		}
		if !more {
			return r, p.fault()
		}
		if json.Unmarshal(line, &r) != nil {
			return r, fmt.Errorf("it answers %.200q%s", line, p.words.text())
		}
		if r.Error != "" {
			return r, fmt.Errorf("%s%s", r.Error, p.words.text())
		}
		return r, nil
	}
}

// fault tells how the process ended, which is to answer.
func (p *peer) fault() error {
	_ = p.end() // what the state tells
	p.dead = true
	return fmt.Errorf("the process ended (%v)%s", p.cmd.ProcessState, p.words.text())
}

func (p *peer) pid() int { return p.cmd.Process.Pid }

// end ends the process and waits for it, and kills it if it takes long.
func (p *peer) end() error {
	if p.dead {
		return nil
	}
	used, counted := usedBy(p.pid()), cpuTime(syscall.RUSAGE_CHILDREN)
	defer func() { uncounted.Add(int64(max(0, used-(cpuTime(syscall.RUSAGE_CHILDREN)-counted)))) }()
	late := time.AfterFunc(leave, func() { _ = p.cmd.Process.Kill() }) // Wait's error tells of it
	defer late.Stop()
	_ = p.stdin.Close()        // what is closed already is as well
	var unasked sync.WaitGroup // it may not end before somebody has read what it says
	unasked.Go(func() {
		for range p.lines {
		}
	})
	err := p.wait() // which closes what read reads
	unasked.Wait()
	return err
}

// tailBytes is how much of a peer's standard error is told.
const tailBytes = 2 << 10

// A tail keeps the end of what is written to it.
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

// text is what an error says of it: nothing if nothing was written.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) == 0 {
		return ""
	}
	return "; its standard error ends with\n" + string(t.kept)
}
