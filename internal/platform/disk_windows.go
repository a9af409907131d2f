package platform

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

var diskFull = []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}

// LockFile locks a file until it is closed or the process ends, however it ends. It does not wait: if the file is locked
// already, the error is ErrLocked.
//
// A lock of Windows keeps others from reading what it covers. It covers one byte far behind the end of the file, so that
// others can read who holds it.
func LockFile(f *os.File) error {
	farBehind := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &farBehind)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

// SyncDir does nothing but look for the directory. Windows has no call that syncs one; NTFS keeps names in its journal.
func SyncDir(path string) error {
	_, err := os.Stat(path)
	return err
}

// FreeBytes returns how many bytes of the disk that holds a directory are free for this user.
func FreeBytes(path string) (int64, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, &os.PathError{Op: "GetDiskFreeSpaceEx", Path: path, Err: err}
	}
	return int64(free), nil
}
