//go:build !linux && !darwin && !freebsd && !windows

package platform

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

var diskFull []error

// LockFile returns an error that wraps errors.ErrUnsupported.
func LockFile(*os.File) error { return unsupported("locks of files") }

// SyncDir returns an error that wraps errors.ErrUnsupported.
func SyncDir(string) error { return unsupported("syncs of directories") }

// FreeBytes returns an error that wraps errors.ErrUnsupported.
func FreeBytes(string) (int64, error) { return 0, unsupported("free disk space") }

// TotalMemory returns an error that wraps errors.ErrUnsupported.
func TotalMemory() (uint64, error) { return 0, unsupported("the machine's memory") }

func unsupported(what string) error {
	return fmt.Errorf("%s on %s: %w: Tidemill has them on linux, darwin, freebsd and windows; elsewhere, keep streams in memory"+
		" (without a directory)", what, runtime.GOOS, errors.ErrUnsupported)
}
