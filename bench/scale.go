package main

import "time"

// scale says how much a run measures. Ratios hardly depend on it; how far they can be trusted does.
type scale struct {
	name   string
	rounds int           // after a warm-up
	limit  time.Duration // of one row: what takes longer hangs

	trips    int           // tasks one after the other, a round
	submits  int           // of submit then get all
	floors   int           // messages of the floor beside it: its rate does not depend on how many, and it is slow
	synced   int           // messages of the floor in synced files: each pays for a sync
	recorded int           // tasks of the job that is resumed
	mapped   int           // inputs of Map
	fib      int           // which Fibonacci number nested tasks work out
	leaves   int           // of a tree of reductions
	queued   int           // tasks that wait for an agent
	open     time.Duration // of a round with tasks that come when they come
	grains   int           // tasks of 10 µs
	waits    int           // tasks of 50 ms
	pack     int           // processes that sit idle
	idle     time.Duration
	demoDirs []string // below GOROOT/src
}

var full = scale{
	name: "full", rounds: 11, limit: 3 * time.Minute,
	trips: 2_000, submits: 100_000, floors: 30_000, synced: 1_000, recorded: 1_000_000, mapped: 1_000_000, grains: 10_000, waits: 80,
	fib: 25, leaves: 1 << 16, queued: 1_000_000, open: time.Second,
	pack: 5, idle: 10 * time.Second,
	demoDirs: []string{"crypto", "go", "net", "os", "runtime"},
}

var quickly = scale{
	name: "quick", rounds: 5, limit: 45 * time.Second,
	trips: 400, submits: 20_000, floors: 10_000, synced: 500, recorded: 100_000, mapped: 200_000, grains: 10_000, waits: 40,
	fib: 20, leaves: 1 << 12, queued: 100_000, open: 300 * time.Millisecond,
	pack: 3, idle: 4 * time.Second,
	demoDirs: []string{"net", "os"},
}
