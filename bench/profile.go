package main

import (
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
)

// profiles are the files to write profiles to; empty names ask for none.
type profiles struct{ cpu, mem string }

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
	if p.cpu == "" {
		return p.writeMem, nil
	}
	file, err := os.Create(p.cpu)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return errors.Join(file.Close(), p.writeMem())
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
