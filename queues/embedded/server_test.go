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
	"golang.org/x/sys/unix"

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

// runRole runs a role in this process and returns its exit code.
func runRole(role, dir string) int {
	roles := map[string]func(dir string) error{"hold": hold, "memory": holdMemory, "publish": publishUntilKilled, "fill": fill}
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
	cmd := exec.CommandContext(ctx, os.Args[0], dir)
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

// When there is space again after the disk was full, the server is restarted under an open connection, and has all acknowledged
// messages. The disk is a tmpfs that only the process of the test sees.
func TestFullDisk(t *testing.T) {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd, out := process(t, "fill", t.TempDir(), attr)
	var lines []string
	for out.Scan() {
		lines = append(lines, out.Text())
	}
	if err := cmd.Wait(); err != nil || len(lines) == 0 || lines[len(lines)-1] != "done" {
		t.Errorf("the process that fills a disk: got error %v, output %q; want done (it needs the right to mount a tmpfs in its own namespace)", err, lines)
	}
}

// fill runs on a tmpfs of 64 MiB that it mounts over dir.
func fill(dir string) error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	s, err := embedded.Start(embedded.Config{Dir: filepath.Join(dir, "store"), Logger: quiet})
	if err != nil {
		return err
	}
	defer s.Close()
	nc, js, err := stream(s)
	if err != nil {
		return err
	}
	defer nc.Close()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 30<<20), 0o600); err != nil {
		return err
	}
	acked, warned := storeUntilFull(s, js)
	fmt.Println(acked, "messages were stored; Full returned an error before:", warned)
	if !warned {
		return errors.New("the disk ran full: Full returned no error before, want one")
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	ack, err := storeWithinAMinute(js)
	if err != nil {
		return fmt.Errorf("store a message when there is space again: %w", err)
	}
	if ack.Sequence <= acked {
		return fmt.Errorf("sequence of the next message: got %d, want more than %d, which was acknowledged", ack.Sequence, acked)
	}
	for range 600 { // a minute
		if s.Full() == nil {
			break
		}
		waitFor(100 * time.Millisecond)
	}
	if err := s.Full(); err != nil {
		return fmt.Errorf("a minute after there was space again, Full returns %w, want nil", err)
	}
	fmt.Println("done")
	return nil
}

// storeUntilFull stores messages until one fails, and returns the last acknowledged sequence, and whether Full returned an error
// before. It ends, since the disk has 64 MiB.
func storeUntilFull(s *embedded.Server, js jetstream.JetStream) (acked uint64, warned bool) {
	for {
		ctx, cancel := contextFor(2 * time.Second)
		ack, err := js.Publish(ctx, "s", make([]byte, 256<<10))
		cancel()
		warned = warned || s.Full() != nil
		if err != nil {
			return acked, warned
		}
		acked = ack.Sequence
		if !warned {
			waitFor(50 * time.Millisecond) // the server measures the space twice a second
		}
	}
}

// storeWithinAMinute stores one message; it tries again for a minute.
func storeWithinAMinute(js jetstream.JetStream) (ack *jetstream.PubAck, err error) {
	for range 60 {
		ctx, cancel := contextFor(time.Second)
		ack, err = js.Publish(ctx, "s", []byte("after"))
		cancel()
		if err == nil {
			return ack, nil
		}
	}
	return nil, err
}
