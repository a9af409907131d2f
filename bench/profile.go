package main

import (
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
)

// profiles are the names of files to write profiles to; empty = no such profile.
type profiles struct{ cpu, mem, trace string }

// memEvery is the mean number of allocated bytes per sample of -memprofile.
const memEvery = 16 << 10

// prepare sets the rate of -memprofile. It is called once, before the first row.
func (p profiles) prepare() {
	if p.mem != "" {
		runtime.MemProfileRate = memEvery
	}
}

// start starts the profiles; stop ends and writes them. Existing files are overwritten. (The profile of allocations has
// all since the start of the process.)
func (p profiles) start() (stop func() error, err error) {
	endTrace, err := startWriting(p.trace, trace.Start, trace.Stop)
	if err != nil {
		return nil, err
	}
	endCPU, err := startWriting(p.cpu, pprof.StartCPUProfile, pprof.StopCPUProfile)
	if err != nil {
		return nil, errors.Join(err, endTrace())
	}
	return func() error { return errors.Join(endCPU(), endTrace(), p.writeMem()) }, nil
}

// startWriting creates the file and starts writing to it, until end is called. Without a name, it does nothing.
func startWriting(name string, start func(w io.Writer) error, stop func()) (end func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := start(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error {
		stop()
		return file.Close()
	}, nil
}

func (p profiles) writeMem() error {
	if p.mem == "" {
		return nil
	}
	file, err := os.Create(p.mem)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(file, 0), file.Close())
}
