package main

import (
	"iter"
	"slices"
)

// cut partitions the numbers until no piece has more than the threshold, and yields the pieces in their order, each as
// soon as it is cut. Sorted, one behind the other, they are the whole in its order.
func cut(numbers []int64, threshold int) iter.Seq[[]int64] {
	return func(yield func([]int64) bool) {
		cutOff(numbers, threshold, yield)
	}
}

func cutOff(numbers []int64, threshold int, yield func([]int64) bool) bool {
	if len(numbers) <= threshold {
		return yield(numbers)
	}
	less, greater := partition(numbers)
	return cutOff(less, threshold, yield) && cutOff(greater, threshold, yield)
}

// samples is of how many numbers a pivot is the middle one. Halves are about as large as each other then, so that
// trees of results stay far from the depth that references may have (32).
const samples = 101

// leastThreshold bounds the pieces, which are tasks, from below; so what is cut has more numbers than samples.
const leastThreshold = 1000

// partition orders the numbers, more than leastThreshold, such that none of the first half is greater than one of the
// second (Hoare, 1961). Neither half is empty, since the pivot is neither the least nor the greatest.
func partition(numbers []int64) (less, greater []int64) {
	pivot := middle(numbers)
	i, j := 0, len(numbers)-1
	for i <= j {
		for numbers[i] < pivot {
			i++
		}
		for numbers[j] > pivot {
			j--
		}
		if i <= j {
			numbers[i], numbers[j] = numbers[j], numbers[i]
			i++
			j--
		}
	}
	return numbers[:j+1], numbers[j+1:]
}

// middle returns the median of samples from all over the numbers.
func middle(numbers []int64) int64 {
	var some [samples]int64
	for i := range some {
		some[i] = numbers[i*len(numbers)/samples]
	}
	slices.Sort(some[:])
	return some[samples/2]
}
