// Command nqueens counts the ways to place n queens on a board of n by n squares so that none attacks another. It shows
// nested tasks in a search whose branches have very different sizes, which are not known in advance.
//
//	nqueens [-n N] [-depth N]
//
// A task submits a task for each square in the next row on which a queen can stand. From a certain depth on, a task counts
// by plain recursion. The load balances itself: an idle CPU takes the oldest branch that waits.
package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/tidemill/tidemill"
)

var (
	size  = flag.Int("n", 13, fmt.Sprintf("place `N` queens, 1 to %d", len(known)))
	depth = flag.Int("depth", 3, "place the first `N` queens by tasks, and the others by plain recursion")
)

// known are the correct results for 1, 2, 3, … queens (https://oeis.org/A000170).
var known = [...]int{1, 0, 0, 2, 10, 4, 40, 92, 352, 724, 2680, 14200, 73712, 365596, 2279184, 14772512, 95815104, 666090624}

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Nqueens counts the ways to place n queens so that none attacks another.\n\nusage: nqueens [flags]\n\n"+
			"The flags -n and -depth belong to nqueens, the others to every Tidemill program:\n\n")
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
	fmt.Printf("%d ways to place %d queens\n%8.3f s  by %d tasks\n%8.3f s  by plain recursion\n",
		found.Ways, *size, time.Since(start).Seconds(), found.Tasks, seconds)
	if want := known[*size-1]; found.Ways != want || serial != want {
		return fmt.Errorf("wrong result: the tasks found %[2]d ways and the plain recursion %[3]d, want %[1]d", want, found.Ways, serial)
	}
	return nil
}
