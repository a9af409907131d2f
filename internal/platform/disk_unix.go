//go:build linux || darwin || freebsd

package platform

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

var diskFull = []error{unix.ENOSPC, unix.EDQUOT}

// LockFile locks a file until it is closed or the process ends, however it ends. It does not wait: if the file is locked
// already, the error is ErrLocked.
func LockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

// SyncDir makes the names in a directory survive a power cut.
func SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// FreeBytes returns how many bytes of the disk that holds a directory are free for this user.
func FreeBytes(path string) (int64, error) {
	var disk unix.Statfs_t
	if err := unix.Statfs(path, &disk); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return product(disk.Bavail, disk.Bsize), nil
}

// product multiplies a number of blocks by their size. Each system has other types for them.
func product[N int64 | uint64, S int64 | uint64 | uint32](blocks N, size S) int64 {
	return int64(blocks) * int64(size)
}
