//go:build soak && linux

package tidemill_test

import (
	"fmt"
	"math/rand/v2"
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

// TestPowerLoss runs a named job on a file system of its own, which then loses its power with the program:
// what the disk has not been told to keep is gone. What was acknowledged is there. It needs root, loop
// devices and mkfs.ext4.
func TestPowerLoss(t *testing.T) {
	program := buildVictim(t, "./testdata/killed")
	table := tally{}
	for range *kills {
		d := newDisk(t)
		v := newVictim(t, program)
		v.dir, v.tasks = filepath.Join(d.mount, "dir"), 10_000
		v.args[1] = strconv.Itoa(v.tasks)
		for range 4 {
			v.losePower(d, time.Duration(50+rand.IntN(500))*time.Millisecond)
		}
		table.add(power, v)
	}
	table.check(t)
}

// TestPowerLossShows runs the same without syncs, where it loses what was acknowledged: else TestPowerLoss
// would see nothing.
func TestPowerLossShows(t *testing.T) {
	d := newDisk(t)
	v := newVictim(t, buildVictim(t, "./testdata/killed"))
	v.dir = filepath.Join(d.mount, "dir")
	v.args = append(v.args, "-sync", "no-sync-for-two-minutes")
	cmd, said := v.command()
	check(t, cmd.Start())
	for { // until all tasks are stored, as far as it knows
		if _, err := os.Stat(v.file("flushed")); err == nil {
			break
		}
		<-time.After(time.Millisecond)
	}
	d.off()
	check(t, cmd.Process.Kill())
	if err := cmd.Wait(); !wasKilled(err) {
		t.Fatalf("%v\n%s", err, said)
	}
	d.on()
	if left := inspect(t, v.dir, v.name); len(left.known) == v.tasks {
		t.Error("nothing was lost without syncs: this simulates no loss of power")
	}
}

// losePower runs the job for a while, and ends it and the disk's power.
func (v *victim) losePower(d *disk, after time.Duration) {
	v.t.Helper()
	if v.done {
		return
	}
	cmd, said := v.command()
	check(v.t, cmd.Start())
	timer := time.AfterFunc(after, func() {
		d.off()
		_ = cmd.Process.Kill()
	})
	err := cmd.Wait()
	if timer.Stop() { // it is done
		v.ended(err, said)
		return
	}
	d.on()
	if err == nil { // it was just done
		v.ended(nil, said)
		return
	}
	v.killed++ // or has ended by itself, since its disk failed
	v.look()
}

// disk is a file system in a file, mounted.
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

// off ends the file system as a lost power supply does: nothing more reaches the image, not even the
// journal. (EXT4_IOC_SHUTDOWN, with the flag NOLOGFLUSH.)
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

// on mounts it again, with what the image has.
func (d *disk) on() {
	d.t.Helper()
	d.run("umount", d.mount)
	d.run("mount", "-o", "loop", d.image, d.mount)
}
