package main

import (
	"runtime"
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
	m.cpu = ownCPUTime()
	m.start = time.Now()
	return m
}

// stop returns the sample of n tasks that ran since the start.
func (m *meter) stop(n int) sample {
	took := time.Since(m.start)
	spent := ownCPUTime() - m.cpu
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
