package task

import (
	"cmp"
	"slices"
)

// Ranges is a set of task numbers as ranges, each with its first and last number. Since tasks are numbered in order, sets
// of them often need few ranges.
//
// Invariant, except for ranges that came in a message: they are sorted, and neither overlap nor touch.
type Ranges [][2]uint64

// RangesOf returns the set of these numbers, which it sorts.
func RangesOf(numbers []uint64) (r Ranges) {
	slices.Sort(numbers)
	for _, n := range numbers {
		if last := len(r) - 1; last >= 0 && n <= r[last][1]+1 {
			r[last][1] = n
			continue
		}
		r = append(r, [2]uint64{n, n})
	}
	return r
}

// Has reports whether the number is in the set.
func (r Ranges) Has(number uint64) bool {
	i, _ := slices.BinarySearchFunc(r, number, func(x [2]uint64, n uint64) int {
		if x[1] < n {
			return -1
		}
		return 1
	})
	return i < len(r) && r[i][0] <= number
}

// With returns the union of the set and more, which may come from a message: in any order, with ranges that overlap or are
// empty (the first number above the last). It sorts more, and is linear in both otherwise.
func (r Ranges) With(more Ranges) Ranges {
	if len(more) == 0 {
		return r
	}
	slices.SortFunc(more, func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	out := make(Ranges, 0, len(r)+len(more))
	for len(r) > 0 || len(more) > 0 {
		var next [2]uint64
		if len(more) == 0 || len(r) > 0 && r[0][0] <= more[0][0] {
			next, r = r[0], r[1:]
		} else {
			next, more = more[0], more[1:]
		}
		last := len(out) - 1
		switch {
		case next[0] > next[1]: // empty
		case last >= 0 && (next[0] <= out[last][1] || next[0] == out[last][1]+1):
			out[last][1] = max(out[last][1], next[1])
		default:
			out = append(out, next)
		}
	}
	return out
}
