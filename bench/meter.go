package main

import (
	"runtime"
	"syscall"
	"time"
)

// A meter measures what this process spends on a number of tasks: on the work of the measured side, on the server, and
// on garbage collection.
type meter struct {
	start time.Time
	cpu   time.Duration
	mem   runtime.MemStats
}

func startMeter() *meter {
	m := &meter{}
	runtime.ReadMemStats(&m.mem)
	m.cpu = cpuTime(syscall.RUSAGE_SELF)
	m.start = time.Now()
	return m
}

// stop returns the sample of n tasks that ran since the start.
func (m *meter) stop(n int) sample {
	took := time.Since(m.start)
	spent := cpuTime(syscall.RUSAGE_SELF) - m.cpu
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	each := 1 / float64(n)
	return sample{
		elapsed: took.Seconds(),
		rate:    float64(n) / took.Seconds(),
		cpu:     spent.Seconds() * each,
		allocs:  float64(mem.Mallocs-m.mem.Mallocs) * each,
		size:    float64(mem.TotalAlloc-m.mem.TotalAlloc) * each,
	}
}

// cpuTime returns the CPU time that this process, or its children that have ended, used on all cores.
func cpuTime(who int) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(who, &usage); err != nil {
		panic(err) // its only error is a wrong argument
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
