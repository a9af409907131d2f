package main

import (
	"context"
	"maps"
)

// A row is one comparison.
type row struct {
	name  string
	about string // what is done, in one line
	times int    // as many rounds as others have, for rounds that are short; 0 = 1
	once  bool   // one round and no warm-up: the round itself looks at several, and returns medians

	open    func(ctx context.Context, sc scale) (*trial, error)
	figures []figure
}

// rows are all rows, in the order in which they are run and printed.
func rows() []row {
	return []row{
		roundTripRow(), submitRow(), filesRow(), mapRow(), nestedRow(), deepRow(), reduceRow(), queuedRow(), openRow(), grainRow(), slotsRow(), startRow(), bubbleRow(), resumeRow(), idleRow(), demoRow(),
		smallRow(), manyRow(), largeRow(), shelfRow(),
	}
}

// A trial is a row's sides, ready to be measured in turn.
type trial struct {
	sides []side // ours first
	close func() error
}

// A side is one way of doing the row's work. A round does all of it once and returns what was measured.
type side struct {
	name  string
	round func(ctx context.Context) (sample, error)
}

// A sample is what one round of one side measured.
type sample map[quantity]float64

// and returns the sample with more in it.
func (s sample) and(more sample) sample {
	maps.Copy(s, more)
	return s
}

// A quantity is what is measured; times are in seconds.
type quantity string

const (
	elapsed quantity = "seconds"
	rate    quantity = "rate"   // tasks a second
	p50     quantity = "p50"    // seconds
	p99     quantity = "p99"    // seconds
	in      quantity = "in"     // seconds
	out     quantity = "out"    // seconds
	cpu     quantity = "cpu"    // seconds of CPU a task, of the whole process
	allocs  quantity = "allocs" // a task, of the whole process
	size    quantity = "bytes"  // allocated a task, by the whole process
	share   quantity = "share"  // of what could be
	rss     quantity = "rss"    // bytes
	rssAnon quantity = "anon"   // bytes
)

// A figure is what the report says of a row: a quantity of one side, and of another to compare it with.
type figure struct {
	name    string
	unit    unit
	ours    reading
	other   reading // of no quantity if there is nothing to compare with
	against string  // what the other is
	goal    goal
}

// A reading is a quantity of a side.
type reading struct {
	side int
	of   quantity
}
