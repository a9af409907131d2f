package embedded_test

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tidemill/tidemill/queues/embedded"
)

// TestMain runs a role instead of the tests in the processes that tests start.
func TestMain(m *testing.M) {
	if role := os.Getenv("EMBEDDED_TEST_ROLE"); role != "" {
		os.Exit(runRole(role, os.Args[len(os.Args)-1]))
	}
	ats.Register() // outside of every synctest bubble
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

var quiet = slog.New(slog.DiscardHandler)

// roles are what this test binary does in the processes that tests start.
var roles = map[string]func(dir string) error{"hold": hold, "memory": holdMemory, "publish": publishUntilKilled}

// runRole runs a role in this process and returns its exit code.
func runRole(role, dir string) int {
	if err := roles[role](dir); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// processTime bounds the life of a process that a test starts: afterwards its output ends.
const processTime = 2 * time.Minute

// process starts this test binary in a role. It returns its output line by line.
func process(t *testing.T, role, dir string, attr *syscall.SysProcAttr) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	ctx, cancel := contextFor(processTime)
	t.Cleanup(cancel)
	self, err := os.Executable() // os.Args[0] may be relative to another working directory
	check(t, err)
	cmd := exec.CommandContext(ctx, self, dir)
	cmd.Env = append(os.Environ(), "EMBEDDED_TEST_ROLE="+role)
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	check(t, err)
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

func open(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	cfg.Logger = quiet
	s, err := embedded.Start(cfg)
	check(t, err)
	t.Cleanup(s.Close)
	return s
}

// hold runs a server on the directory until the process is killed.
func hold(dir string) error {
	if _, err := embedded.Start(embedded.Config{Dir: dir, Logger: quiet}); err != nil {
		return err
	}
	fmt.Println("held")
	select {}
}

// A directory has one user at a time; the error of another one names it. When the user dies, the directory is free, and the next
// server knows that it was not closed.
func TestDirectoryHasOneUser(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	cmd, out := process(t, "hold", dir, nil)
	if !out.Scan() || out.Text() != "held" {
		t.Fatalf("output of the process that holds the directory: got %q, error %v; want held", out.Text(), out.Err())
	}
	_, err := embedded.Start(embedded.Config{Dir: dir, Logger: quiet})
	if !errors.Is(err, embedded.ErrDirHeld) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on ", cmd.Process.Pid)) {
		t.Errorf("start on a directory that process %d holds: got error %v, want %v with that process", cmd.Process.Pid, err, embedded.ErrDirHeld)
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	s := open(t, embedded.Config{Dir: dir})
	if !s.Unclean() {
		t.Error("unclean after a kill: got false, want true")
	}
	if _, err := embedded.Start(embedded.Config{Dir: dir, Logger: quiet}); !errors.Is(err, embedded.ErrDirHeld) {
		t.Errorf("a second server in this process: got error %v, want %v", err, embedded.ErrDirHeld)
	}
	boot := s.Boot()
	s.Close()
	s.Close() // again
	s = open(t, embedded.Config{Dir: dir})
	if s.Unclean() || s.Boot() == boot {
		t.Errorf("after Close: got unclean %v, boot %s after %s; want false, and another boot", s.Unclean(), s.Boot(), boot)
	}
	s.MarkUnclean()
	s.Close()
	if s = open(t, embedded.Config{Dir: dir}); !s.Unclean() {
		t.Error("unclean after MarkUnclean and Close: got false, want true")
	}
}

// A directory that cannot be used is an error that says why.
func TestUnusableDirectories(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "file")
	check(t, os.WriteFile(file, nil, 0o600))
	other := filepath.Join(home, "other")
	check(t, os.MkdirAll(other, 0o755))
	check(t, os.WriteFile(filepath.Join(other, "letters.txt"), nil, 0o600))
	newer := filepath.Join(home, "newer")
	check(t, os.MkdirAll(newer, 0o755))
	check(t, os.WriteFile(filepath.Join(newer, "layout"), []byte("tidemill 2\n"), 0o600))
	for dir, says := range map[string]string{
		file: "not a directory", filepath.Join(file, "below"): "not a directory", other: "letters.txt", newer: "another version",
	} {
		if _, err := embedded.Start(embedded.Config{Dir: dir, Logger: quiet}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("start on %s: got error %v, want one with %q", dir, err, says)
		}
	}
}

// stream creates the stream S in files unless it exists, through a connection of its own, which the caller closes.
func stream(s *embedded.Server) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := contextFor(time.Minute)
	defer cancel()
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	return nc, js, err
}

// publishUntilKilled publishes messages and prints the sequence of each one that was acknowledged.
func publishUntilKilled(dir string) error {
	s, err := embedded.Start(embedded.Config{Dir: dir, Logger: quiet})
	if err != nil {
		return err
	}
	_, js, err := stream(s)
	for err == nil {
		var ack *jetstream.PubAck
		ctx, cancel := contextFor(time.Minute)
		if ack, err = js.Publish(ctx, "s", []byte("m")); err == nil {
			fmt.Println(ack.Sequence)
		}
		cancel()
	}
	return err
}

// Acknowledged messages survive SIGKILL.
func TestKilledServerLosesNothing(t *testing.T) {
	dir := t.TempDir()
	cmd, out := process(t, "publish", dir, nil)
	var acked string
	for range 200 {
		if !out.Scan() {
			t.Fatalf("the publishing process ended after message %q, want it to go on until it is killed", acked)
		}
		acked = out.Text()
	}
	check(t, cmd.Process.Kill())
	for out.Scan() {
		acked = out.Text()
	}
	s := open(t, embedded.Config{Dir: dir})
	sequence, err := strconv.ParseUint(acked, 10, 64)
	check(t, err)
	if last := lastOf(t, s); last < sequence {
		t.Errorf("last sequence after the kill: got %d, want at least %d, which was acknowledged", last, sequence)
	}
}

func lastOf(t *testing.T, s *embedded.Server) uint64 {
	t.Helper()
	nc, js, err := stream(s)
	check(t, err)
	defer nc.Close()
	info, err := js.Stream(t.Context(), "S")
	check(t, err)
	return info.CachedInfo().State.LastSeq
}

// A server in files can be restarted under an open connection, which reconnects to the same address and loses no acknowledged
// message. A server in memory cannot be restarted.
func TestRestart(t *testing.T) {
	s := open(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, js, err := stream(s)
	check(t, err)
	defer nc.Close()
	_, err = js.Publish(t.Context(), "s", []byte("before"))
	check(t, err)
	url := s.URL()
	reconnected := make(chan struct{}, 10)
	nc.SetReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} })
	check(t, s.Restart())
	select {
	case <-reconnected:
	case <-time.After(time.Minute):
		t.Fatal("waited a minute for the connection to be made again")
	}
	if s.URL() != url {
		t.Errorf("URL after Restart: got %s, want %s as before", s.URL(), url)
	}
	ack, err := js.Publish(t.Context(), "s", []byte("after"))
	check(t, err)
	if ack.Sequence != 2 {
		t.Errorf("sequence of the second message: got %d, want 2", ack.Sequence)
	}
	memory := open(t, embedded.Config{})
	if memory.Restart() == nil {
		t.Error("restart of a server in memory: got no error, want one")
	}
}

// Streams in files work in virtual time, too.
func TestFilesInVirtualTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, embedded.Config{Dir: dir})
		nc, js, err := stream(s)
		check(t, err)
		_, err = js.Publish(t.Context(), "s", []byte("m"))
		check(t, err)
		nc.Close()
		check(t, s.Restart())
		if last := lastOf(t, s); last != 1 {
			t.Errorf("last sequence after Restart: got %d, want 1", last)
		}
	})
}

func TestSpaceIsFull(t *testing.T) {
	for _, c := range []struct {
		space embedded.Space
		full  bool
	}{
		{embedded.Space{Used: 0, Free: 1 << 30}, false},
		{embedded.Space{Used: 84 << 20, Free: 16 << 20}, false},
		{embedded.Space{Used: 86 << 20, Free: 14 << 20}, true},
		{embedded.Space{Used: 0, Free: 1 << 20}, true}, // other files fill the disk
		{embedded.Space{Used: 84 << 20, Limit: 100 << 20, Free: 1 << 40}, false},
		{embedded.Space{Used: 86 << 20, Limit: 100 << 20, Free: 1 << 40}, true},
		{embedded.Space{Used: 1 << 20, Limit: 1 << 40, Free: 100 << 20}, false},
	} {
		err := c.space.Full()
		if (err != nil) != c.full || err != nil && !errors.Is(err, embedded.ErrDiskFull) {
			t.Errorf("%+v: got error %v, want full %v", c.space, err, c.full)
		}
	}
}
