package platform

import (
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

var globalMemoryStatusEx = windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")

// memoryStatus is the MEMORYSTATUSEX of Windows.
type memoryStatus struct {
	size      uint32 // of this struct, in bytes
	load      uint32
	totalPhys uint64
	others    [6]uint64
}

// TotalMemory returns the machine's memory in bytes.
func TotalMemory() (uint64, error) {
	status := memoryStatus{size: uint32(unsafe.Sizeof(memoryStatus{}))}
	if ok, _, err := globalMemoryStatusEx.Call(uintptr(unsafe.Pointer(&status))); ok == 0 {
		return 0, os.NewSyscallError("GlobalMemoryStatusEx", err)
	}
	return status.totalPhys, nil
}
