package main

import (
	"context"
	"maps"
)

// A row is one measurement, of Tidemill and of what it is compared with.
type row struct {
	name  string
	about string // what a round does, in one line
	times int    // multiplies the number of rounds, for rounds that are short; 0 = 1
	once  bool   // one round and no warm-up: the round takes several measurements and returns their medians

	open    func(ctx context.Context, sc scale) (*trial, error)
	figures []figure
}

// rows returns all rows that do not need Ray, in the order in which they are run and printed.
func rows() []row {
	return []row{
		roundTripRow(), submitRow(), filesRow(), mapRow(), nestedRow(), deepRow(), reduceRow(), queuedRow(), openRow(),
		grainRow(), slotsRow(), startRow(), bubbleRow(), resumeRow(), idleRow(), demoRow(), smallRow(), manyRow(), largeRow(), shelfRow(),
	}
}

// A trial is the open sides of a row, ready to be measured in turn.
type trial struct {
	sides []side // ours first
	close func() error
}

// A side is one way of doing the row's work. A round does all of it once and returns what it measured.
type side struct {
	name  string
	round func(ctx context.Context) (sample, error)
}

// A sample is what one round of one side measured.
type sample map[quantity]float64

// and adds the quantities of more to s, and returns s.
func (s sample) and(more sample) sample {
	maps.Copy(s, more)
	return s
}

// A quantity is what is measured. Per task means divided by the number of tasks of the round.
type quantity string

const (
	elapsed quantity = "seconds"
	rate    quantity = "rate"   // per second: tasks, or what the figure names
	p50     quantity = "p50"    // seconds
	p99     quantity = "p99"    // seconds
	in      quantity = "in"     // seconds to write, or submits per second in the row "queued"
	out     quantity = "out"    // seconds to read
	cpu     quantity = "cpu"    // seconds of CPU time per task, of the whole process
	allocs  quantity = "allocs" // allocations per task, of the whole process
	size    quantity = "bytes"  // allocated or used per task, by the whole process
	share   quantity = "share"  // fraction of the time available, 0 to 1
	rss     quantity = "rss"    // resident set size in bytes
	rssAnon quantity = "anon"   // anonymous part of rss in bytes
)

// A figure is one line of a row in the report: a quantity of one side, and that of another side to compare it with.
type figure struct {
	name    string
	unit    unit
	ours    reading
	other   reading // the zero reading if there is nothing to compare with
	against string  // describes the other side
	goal    goal
}

// A reading selects a quantity of a side, by the index of the side in the trial.
type reading struct {
	side int
	of   quantity
}
