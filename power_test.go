//go:build soak && linux

package tidemill_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestPowerLoss runs a named job on a file system of its own, which loses its power together with the program: data that
// was not synced is gone. Everything that was acknowledged must be there. The test needs root, loop devices and mkfs.ext4.
func TestPowerLoss(t *testing.T) {
	repeat(t, " -tags=soak")
	program, rng := buildProgram(t, "./testdata/killed"), random(4)
	table := tally{}
	for range *kills {
		d := newDisk(t)
		h := newHarness(t, program)
		h.dir, h.tasks = filepath.Join(d.mount, "dir"), 10_000
		h.args[1] = strconv.Itoa(h.tasks)
		for range 4 {
			h.losePower(d, time.Duration(50+rng.IntN(500))*time.Millisecond)
		}
		table.add(power, h)
	}
	table.check(t)
}

// TestPowerLossShows runs the same job without syncs, which loses what was acknowledged: so the disk does lose data, and
// TestPowerLoss can fail.
func TestPowerLossShows(t *testing.T) {
	d := newDisk(t)
	h := newHarness(t, buildProgram(t, "./testdata/killed"))
	h.dir = filepath.Join(d.mount, "dir")
	h.args = append(h.args, "-sync", "no-sync-for-two-minutes")
	cmd, stderr := h.command()
	check(t, cmd.Start())
	tooLong := time.After(time.Minute)
	for { // until the program has got the acknowledgement of all tasks
		if _, err := os.Stat(h.file("flushed")); err == nil {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-tooLong:
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("after a minute the program has not written the file that says that all tasks are flushed\n%s", stderr)
		}
	}
	d.off()
	check(t, cmd.Process.Kill())
	if err := cmd.Wait(); !wasKilled(err) {
		t.Fatalf("the run ended with %v, want SIGKILL\n%s", err, stderr)
	}
	d.on()
	if left := inspect(t, h.dir, h.name); len(left.known) == h.tasks {
		t.Errorf("all %d tasks are there after a loss of power without syncs, want fewer: the disk has lost nothing", h.tasks)
	}
}

// losePower runs the job for a while, and then ends the disk's power and kills the job.
func (h *harness) losePower(d *disk, after time.Duration) {
	h.t.Helper()
	if h.done {
		return
	}
	cmd, stderr := h.command()
	check(h.t, cmd.Start())
	timer := time.AfterFunc(after, func() {
		d.off()
		_ = cmd.Process.Kill()
	})
	err := cmd.Wait()
	if timer.Stop() { // the job has ended before
		h.ended(err, stderr)
		return
	}
	d.on()
	if err == nil { // the job has ended at the same time
		h.ended(nil, stderr)
		return
	}
	h.killed++ // by the signal, or by itself because its disk failed
	h.look()
}

// disk is a mounted file system in a file.
type disk struct {
	t            *testing.T
	image, mount string
}

func newDisk(t *testing.T) *disk {
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image"), mount: t.TempDir()}
	d.run("truncate", "-s", "512M", d.image)
	d.run("mkfs.ext4", "-q", d.image)
	d.run("mount", "-o", "loop", d.image, d.mount)
	t.Cleanup(func() { d.run("umount", d.mount) })
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// off ends the file system as a loss of power does: nothing more reaches the image, not even the journal. (It is
// EXT4_IOC_SHUTDOWN with the flag NOLOGFLUSH.)
func (d *disk) off() {
	const shutdown, noLogFlush = 2<<30 | 4<<16 | 'X'<<8 | 125, 2
	fd, err := unix.Open(d.mount, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		panic(fmt.Sprint("open the mount: ", err))
	}
	defer unix.Close(fd)
	flag := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), shutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		panic(fmt.Sprint("shut the file system down: ", errno))
	}
}

// on mounts the file system again, with what has reached the image.
func (d *disk) on() {
	d.t.Helper()
	d.run("umount", d.mount)
	d.run("mount", "-o", "loop", d.image, d.mount)
}
