package main

import "time"

// A scale is how much a run measures. Ratios hardly depend on it; their noise does.
type scale struct {
	name   string
	rounds int           // after the warm-up
	limit  time.Duration // for one row; a row that takes longer fails

	trips    int           // round trips, one after another
	submits  int           // tasks of the row "submit all", and of those like it
	floors   int           // messages of the floor in those rows: fewer, since it is slower, and its rate does not depend on the number
	synced   int           // messages of the floor in synced files: each costs a sync
	recorded int           // recorded tasks of the job that is resumed
	mapped   int           // inputs of Map
	fib      int           // n of fib(n), which nested tasks compute
	leaves   int           // leaves of the tree of reductions
	queued   int           // tasks submitted while no slot is free
	open     time.Duration // length of a round of the open loop
	grains   int           // tasks of 10 µs
	waits    int           // tasks of 50 ms that wait
	idlers   int           // processes that are idle
	idle     time.Duration // how long they are watched
	demoDirs []string      // folders in GOROOT/src
}

var full = scale{
	name: "full", rounds: 11, limit: 3 * time.Minute,
	trips: 2_000, submits: 100_000, floors: 30_000, synced: 1_000, recorded: 1_000_000, mapped: 1_000_000, grains: 10_000, waits: 80,
	fib: 25, leaves: 1 << 16, queued: 1_000_000, open: time.Second,
	idlers: 5, idle: 10 * time.Second,
	demoDirs: []string{"crypto", "go", "net", "os", "runtime"},
}

var quickScale = scale{
	name: "quick", rounds: 5, limit: 45 * time.Second,
	trips: 400, submits: 20_000, floors: 10_000, synced: 500, recorded: 100_000, mapped: 200_000, grains: 10_000, waits: 40,
	fib: 20, leaves: 1 << 12, queued: 100_000, open: 300 * time.Millisecond,
	idlers: 3, idle: 4 * time.Second,
	demoDirs: []string{"net", "os"},
}
