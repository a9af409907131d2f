package main

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/tidemill/tidemill"
)

// orders are inputs that are difficult for quicksort.
var orders = map[string][]int64{
	"none":            {},
	"one":             {7},
	"at threshold":    numbers(leastThreshold),
	"above threshold": numbers(leastThreshold + 1),
	"random":          numbers(30_000),
	"equal":           make([]int64, 20_000),
	"few values":      made(20_000, func(i int) int64 { return int64(i * i % 3) }),
	"rising":          made(20_000, func(i int) int64 { return int64(i) }),
	"falling":         made(20_000, func(i int) int64 { return -int64(i) }),
	"organ pipe":      made(20_000, func(i int) int64 { return int64(min(i, 20_000-i)) }),
	"one is greater":  made(20_000, func(i int) int64 { return int64(i / 19_999) }),
}

func made(n int, number func(i int) int64) []int64 {
	numbers := make([]int64, n)
	for i := range numbers {
		numbers[i] = number(i)
	}
	return numbers
}

func TestAllWaysSort(t *testing.T) {
	cluster, err := tidemill.Open(t.Context(), tidemill.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cluster.Close(context.Background()) }()
	ctx := cluster.Context(t.Context())
	for name, unsorted := range orders {
		given, want := slices.Clone(unsorted), slices.Sorted(slices.Values(unsorted))
		for _, w := range ways {
			got, _, err := w.sort(ctx, unsorted, leastThreshold)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("input %s, %s: got %d numbers, sorted: %t, error %v; want the %d numbers sorted", name, w.name, len(got), slices.IsSorted(got), err, len(want))
			}
		}
		if !slices.Equal(unsorted, given) {
			t.Errorf("input %s: it has changed, want that only copies are sorted", name)
		}
	}
}

// One level and nested tasks partition in the same way: both have one task for each piece.
func TestOneTaskForEachPiece(t *testing.T) {
	cluster, err := tidemill.Open(t.Context(), tidemill.Config{Resources: map[string]float64{"cpu": 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cluster.Close(context.Background()) }()
	ctx := cluster.Context(t.Context())
	unsorted := numbers(100_000)
	pieces := 0
	for range cut(slices.Clone(unsorted), 10_000) {
		pieces++
	}
	_, one, err := oneLevel(ctx, unsorted, 10_000)
	_, many, err2 := nested(ctx, unsorted, 10_000)
	if err := errors.Join(err, err2); err != nil || pieces < 10 || one != pieces || many != pieces {
		t.Errorf("got %d tasks of one level, %d nested tasks, error %v; want %d each (one for each piece, at least 10)", one, many, err, pieces)
	}
}

func TestPartition(t *testing.T) {
	for name, numbers := range orders {
		if len(numbers) <= leastThreshold {
			continue
		}
		less, greater := partition(slices.Clone(numbers))
		if len(less) == 0 || len(greater) == 0 || len(less)+len(greater) != len(numbers) || slices.Max(less) > slices.Min(greater) {
			t.Errorf("input %s: got parts of %d and %d numbers; want two parts with %d in total, the first with no greater number than the second", name, len(less), len(greater), len(numbers))
		}
	}
}

func TestFlagsOutOfRange(t *testing.T) {
	n, least := *size, *threshold
	defer func() { *size, *threshold = n, least }()
	for _, c := range []struct{ size, threshold int }{{-1, 200_000}, {10, 0}, {10, leastThreshold - 1}} {
		*size, *threshold = c.size, c.threshold
		if err := run(t.Context()); !errors.Is(err, tidemill.ErrUsage) {
			t.Errorf("-n %d -threshold %d: got error %v, want %v", c.size, c.threshold, err, tidemill.ErrUsage)
		}
	}
}
