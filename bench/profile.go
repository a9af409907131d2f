package main

import (
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
)

// profiles are the files to write profiles to; empty names ask for none.
type profiles struct{ cpu, mem, trace string }

// memEvery is how many bytes are allocated from one sample of -memprofile to the next.
const memEvery = 16 << 10

// prepare is called once, before anything that counts is allocated.
func (p profiles) prepare() {
	if p.mem != "" {
		runtime.MemProfileRate = memEvery
	}
}

// start begins the profiles, which stop ends and writes; files that are there are written anew. (The
// profile of allocations is of all since the process began.)
func (p profiles) start() (stop func() error, err error) {
	endTrace, err := into(p.trace, trace.Start, trace.Stop)
	if err != nil {
		return nil, err
	}
	endCPU, err := into(p.cpu, pprof.StartCPUProfile, pprof.StopCPUProfile)
	if err != nil {
		return nil, errors.Join(err, endTrace())
	}
	return func() error { return errors.Join(endCPU(), endTrace(), p.writeMem()) }, nil
}

// into begins to write to the file, if it has a name, until end is called.
func into(name string, start func(w io.Writer) error, stop func()) (end func() error, err error) {
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
