//go:build unix

package main

import (
	"os"
	"syscall"
	"time"
)

// ownCPUTime returns the CPU time that this process has used on all cores.
func ownCPUTime() time.Duration { return cpuTime(syscall.RUSAGE_SELF) }

// childrenCPUTime returns the CPU time of the children that this process has waited for.
func childrenCPUTime() time.Duration { return cpuTime(syscall.RUSAGE_CHILDREN) }

func cpuTime(who int) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(who, &usage); err != nil {
		panic(err) // its only error is a wrong argument
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// terminate asks a process to end.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
