// Command nqueens counts the ways to place n queens on a board of n by n squares such that none attacks another. It
// shows nested tasks on a search whose branches are of unlike sizes, which nobody knows before.
//
//	nqueens [-n N] [-depth N]
//
// A task places a queen in the next row, and submits a task for each square that it may have. Below a depth, a task
// counts by plain recursion. Which slot counts which branch comes of itself: one that has nothing to do takes the
// oldest branch that waits.
package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/tidemill/tidemill"
)

var (
	size  = flag.Int("n", 15, fmt.Sprintf("place `N` queens, 1 to %d", len(known)))
	depth = flag.Int("depth", 3, "tasks place the first `N` queens, and plain recursion the others")
)

// known are the answers for boards of 1, 2, 3, … queens (https://oeis.org/A000170).
var known = [...]int{1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596, 2279184, 14772512, 95815104, 666090624}

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Nqueens counts the ways to place n queens such that none attacks another.\n\nusage: nqueens [flags]\n\n")
		flag.PrintDefaults()
	}
	tidemill.Main(run)
}

func run(ctx context.Context) error {
	if flag.NArg() > 0 || *size < 1 || *size > len(known) || *depth < 0 {
		return fmt.Errorf("%w: want 1 to %d for -n, 0 or more for -depth, and no arguments", tidemill.ErrUsage, len(known))
	}
	start := time.Now()
	serial := countFrom(empty(*size))
	seconds := time.Since(start).Seconds()

	start = time.Now()
	found, err := Place.Submit(ctx, Branch{empty(*size), *depth}).Get(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d ways to place %d queens\n%8.3f s  by %d tasks\n%8.3f s  serial\n",
		found.Ways, *size, time.Since(start).Seconds(), found.Tasks, seconds)
	if want := known[*size-1]; found.Ways != want || serial != want {
		return fmt.Errorf("%d ways are right; the tasks found %d, and the plain recursion %d", want, found.Ways, serial)
	}
	return nil
}
