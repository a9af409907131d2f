package main

import (
	"os"
	"syscall"
	"time"
)

// ownCPUTime returns the CPU time that this process has used on all cores.
func ownCPUTime() time.Duration {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		panic(err) // it has no error
	}
	var created, ended, kernel, user syscall.Filetime
	if err := syscall.GetProcessTimes(self, &created, &ended, &kernel, &user); err != nil {
		panic(err) // its only error is a wrong argument
	}
	return span(kernel) + span(user)
}

// span returns a time that Windows counts in units of 100 ns.
func span(t syscall.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}

// childrenCPUTime returns 0: Windows does not add up the CPU time of children that have ended, and it is only subtracted from
// that of the machine, which is read from /proc on Linux.
func childrenCPUTime() time.Duration { return 0 }

// terminate kills a process: on Windows it cannot be asked to end.
func terminate(p *os.Process) error { return p.Kill() }
