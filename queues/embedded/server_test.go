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

// TestMain plays the second process, where a test asks for one.
func TestMain(m *testing.M) {
	if role := os.Getenv("EMBEDDED_TEST_ROLE"); role != "" {
		os.Exit(play(role, os.Args[len(os.Args)-1]))
	}
	ats.Register() // outside of every bubble of virtual time
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

var quiet = slog.New(slog.DiscardHandler)

// play is a process of its own.
func play(role, dir string) int {
	roles := map[string]func(dir string) error{"hold": hold, "publish": publishUntilKilled, "fill": fill}
	if err := roles[role](dir); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// process starts this test's program in a role. Its output is returned line by line.
func process(t *testing.T, role, dir string, attr *syscall.SysProcAttr) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], dir)
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
		t.Fatal(err)
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

// hold holds a directory until it is killed.
func hold(dir string) error {
	if _, err := embedded.Start(embedded.Config{Dir: dir, Logger: quiet}); err != nil {
		return err
	}
	fmt.Println("held")
	select {}
}

// A directory has one user at a time, and the next one is told who it is. Its death frees it, and leaves
// a mark.
func TestADirectoryHasOneUser(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	cmd, out := process(t, "hold", dir, nil)
	if !out.Scan() || out.Text() != "held" {
		t.Fatalf("%q, %v", out.Text(), out.Err())
	}
	_, err := embedded.Start(embedded.Config{Dir: dir, Logger: quiet})
	if !errors.Is(err, embedded.ErrDirHeld) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on ", cmd.Process.Pid)) {
		t.Errorf("held by process %d: %v", cmd.Process.Pid, err)
	}
	check(t, cmd.Process.Kill())
	_ = cmd.Wait()
	s := open(t, embedded.Config{Dir: dir})
	if !s.Unclean() {
		t.Error("after a kill the directory counts as left in order")
	}
	if _, err := embedded.Start(embedded.Config{Dir: dir, Logger: quiet}); !errors.Is(err, embedded.ErrDirHeld) {
		t.Errorf("a second server in this process: %v", err)
	}
	boot := s.Boot()
	s.Close()
	s.Close() // again
	s = open(t, embedded.Config{Dir: dir})
	if s.Unclean() || s.Boot() == boot {
		t.Errorf("after Close: unclean %v, boot %s after %s", s.Unclean(), s.Boot(), boot)
	}
	s.MarkUnclean()
	s.Close()
	if s = open(t, embedded.Config{Dir: dir}); !s.Unclean() {
		t.Error("EndsUnclean leaves no mark")
	}
}

func TestDirectoriesThatCannotBe(t *testing.T) {
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
			t.Errorf("%s: %v, want %q", dir, err, says)
		}
	}
}

// stream returns a stream in files, through a connection of its own.
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

// publishUntilKilled prints the sequence of each message that is acknowledged.
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

// What was acknowledged survives SIGKILL.
func TestAKilledServerLosesNothing(t *testing.T) {
	dir := t.TempDir()
	cmd, out := process(t, "publish", dir, nil)
	var acked string
	for range 200 {
		if !out.Scan() {
			t.Fatal("it ended by itself")
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
		t.Errorf("%d were acknowledged, and %d are there", sequence, last)
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

// The server inside can be started anew under an open connection, which finds all that it was told was
// stored. One in memory cannot.
func TestRestart(t *testing.T) {
	s := open(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, js, err := stream(s)
	check(t, err)
	defer nc.Close()
	_, err = js.Publish(t.Context(), "s", []byte("before"))
	check(t, err)
	url := s.URL()
	again := make(chan struct{}, 10)
	nc.SetReconnectHandler(func(*nats.Conn) { again <- struct{}{} })
	check(t, s.Restart())
	<-again
	if s.URL() != url {
		t.Errorf("it was at %s, and is at %s", url, s.URL())
	}
	ack, err := js.Publish(t.Context(), "s", []byte("after"))
	check(t, err)
	if ack.Sequence != 2 {
		t.Errorf("the second message has the sequence %d", ack.Sequence)
	}
	memory := open(t, embedded.Config{})
	if memory.Restart() == nil {
		t.Error("streams in memory were given up")
	}
}

// Files work in virtual time, too.
func TestFilesInABubble(t *testing.T) {
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
			t.Errorf("last is %d", last)
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
		{embedded.Space{Used: 0, Free: 1 << 20}, true}, // others have filled the disk
		{embedded.Space{Used: 84 << 20, Limit: 100 << 20, Free: 1 << 40}, false},
		{embedded.Space{Used: 86 << 20, Limit: 100 << 20, Free: 1 << 40}, true},
		{embedded.Space{Used: 1 << 20, Limit: 1 << 40, Free: 100 << 20}, false},
	} {
		err := c.space.Full()
		if (err != nil) != c.full || err != nil && !errors.Is(err, embedded.ErrDiskFull) {
			t.Errorf("%+v: %v", c.space, err)
		}
	}
}

// A store that ran full is revived when there is space again, under a connection that stays open, and has
// all that was acknowledged. It is tried on a file system of its own, in a process that alone sees it.
func TestAFullDisk(t *testing.T) {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd, out := process(t, "fill", t.TempDir(), attr)
	var said []string
	for out.Scan() {
		said = append(said, out.Text())
	}
	if err := cmd.Wait(); err != nil || len(said) == 0 || said[len(said)-1] != "done" {
		t.Errorf("%v: it needs a mount namespace of its own, and tmpfs: %q", err, said)
	}
}

// fill runs on a tmpfs of 64 MiB that it mounts over dir.
func fill(dir string) error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to myself: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		return fmt.Errorf("mount: %w", err)
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
	fmt.Println(acked, "messages were stored; warned before:", warned)
	if !warned {
		return errors.New("it ran full without a warning")
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	ack, err := storeWithPatience(js)
	if err != nil {
		return fmt.Errorf("there is space again, and nothing can be stored: %w", err)
	}
	if ack.Sequence <= acked {
		return fmt.Errorf("%d were acknowledged, and the next has the sequence %d", acked, ack.Sequence)
	}
	for full := s.Full(); full != nil; full = s.Full() {
		if err := waitFor(100 * time.Millisecond); err != nil {
			return err
		}
	}
	fmt.Println("done")
	return nil
}

// storeUntilFull returns the last sequence acknowledged, and whether Full said something before the end.
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
			_ = waitFor(50 * time.Millisecond) // the watch looks twice a second
		}
	}
}

// storeWithPatience stores one message, and tries for a minute.
func storeWithPatience(js jetstream.JetStream) (ack *jetstream.PubAck, err error) {
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
