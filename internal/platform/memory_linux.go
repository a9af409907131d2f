package platform

import "golang.org/x/sys/unix"

// TotalMemory returns the machine's memory in bytes.
func TotalMemory() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, err
	}
	return info.Totalram * uint64(info.Unit), nil
}
