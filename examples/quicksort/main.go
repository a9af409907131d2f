// Command quicksort sorts numbers in three ways: serial, as one level of tasks, and as nested tasks. It shows pattern
// 1, "nested tasks for nested parallelism": a task that submits tasks.
//
//	quicksort [-n N] [-threshold N]
//
// In the one-level way, the driver cuts the numbers into pieces, and a task sorts each. In the nested way, a task cuts
// its numbers in two, submits a task for each half, and returns references to both results: it waits for nothing.
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
	size      = flag.Int("n", 8_000_000, "sort `N` numbers")
	threshold = flag.Int("threshold", 200_000, "`N` numbers or fewer are sorted by one task, which cuts them no further")
)

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "Quicksort sorts random numbers: serial, as one level of tasks, and as nested tasks.\n\nusage: quicksort [flags]\n\n")
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
			want = got // the library's
		}
		if !slices.Equal(got, want) {
			return errors.New(w.name + ": the numbers are not in order")
		}
	}
	return nil
}

// way sorts a copy of the numbers, and says by how many tasks.
type way struct {
	name string
	sort func(ctx context.Context, numbers []int64, threshold int) (sorted []int64, tasks int, err error)
}

var ways = []way{{"slices.Sort", library}, {"serial quicksort", serial}, {"one level", oneLevel}, {"nested", nested}}

// numbers returns random numbers, the same ones in each run.
func numbers(n int) []int64 {
	random := rand.New(rand.NewPCG(1, 2))
	numbers := make([]int64, n)
	for i := range numbers {
		numbers[i] = random.Int64N(1_000_000)
	}
	return numbers
}
