// Command quicksort sorts numbers serially, by one level of tasks, and by nested tasks. It shows pattern 1 of Ray's users,
// "nested tasks for nested parallelism": a task that submits tasks.
//
//	quicksort [-n N] [-threshold N]
//
// With one level, the driver partitions the numbers into pieces, and a task sorts each piece. With nested tasks, a task
// partitions its numbers, submits a task for the greater part, and returns references to the results without waiting.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tidemill/tidemill"
)

var (
	size      = flag.Int("n", 1_000_000, "sort `N` numbers")
	threshold = flag.Int("threshold", 25_000, "let one task sort up to `N` numbers without partitioning them")
)

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Quicksort sorts random numbers serially, by one level of tasks, and by nested tasks.\n\nusage: quicksort [flags]\n\n"+
			"The flags -n and -threshold belong to quicksort, the others to every Tidemill program:\n\n")
		flag.PrintDefaults()
	}
	tidemill.Main(run)
}

func run(ctx context.Context) error {
	if flag.NArg() > 0 || *size < 0 || *threshold < leastThreshold {
		return fmt.Errorf("%w: want 0 or more for -n, %d or more for -threshold, and no arguments", tidemill.ErrUsage, leastThreshold)
	}
	unsorted := numbers(*size)
	fmt.Printf("%d numbers\n", len(unsorted))
	var want []int64
	for _, w := range ways {
		start := time.Now()
		got, tasks, err := w.sort(ctx, unsorted, *threshold)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		fmt.Printf("%8.3f s  %s", time.Since(start).Seconds(), w.name)
		if tasks > 0 {
			fmt.Printf(", %d tasks", tasks)
		}
		fmt.Println()
		if want == nil {
			want = got // of slices.Sort
		}
		if !slices.Equal(got, want) {
			return errors.New(w.name + ": the result differs from that of slices.Sort")
		}
	}
	return nil
}

// way is one way to sort. sort returns a sorted copy of the numbers, and how many tasks it took.
type way struct {
	name string
	sort func(ctx context.Context, numbers []int64, threshold int) (sorted []int64, tasks int, err error)
}

var ways = []way{{"slices.Sort", library}, {"serial quicksort", serial}, {"one level of tasks", oneLevel}, {"nested tasks", nested}}

// numbers returns random numbers, the same in each run.
func numbers(n int) []int64 {
	random := rand.New(rand.NewPCG(1, 2))
	numbers := make([]int64, n)
	for i := range numbers {
		numbers[i] = random.Int64N(1_000_000)
	}
	return numbers
}
