//go:build darwin || freebsd

package platform

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// TotalMemory returns the machine's memory in bytes.
func TotalMemory() (uint64, error) {
	if runtime.GOOS == "darwin" {
		return unix.SysctlUint64("hw.memsize")
	}
	return unix.SysctlUint64("hw.physmem")
}
