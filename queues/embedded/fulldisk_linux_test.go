package embedded_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/tidemill/tidemill/queues/embedded"
)

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

func init() { roles["fill"] = fill }

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
