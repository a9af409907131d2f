package main

import (
	"iter"
	"slices"
)

// cut partitions the numbers in place until no piece has more than threshold numbers. It yields the pieces in ascending
// order, each as soon as it is complete: no number of a piece is greater than one of the next.
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

// samples is the number of samples whose median is the pivot. It makes the two parts about equally large, so that the trees
// of results do not reach the limit on nested references (32).
const samples = 101

// leastThreshold is the smallest threshold, so that there are more numbers to partition than samples.
const leastThreshold = 1000

// partition reorders more than leastThreshold numbers in place so that no number of less is greater than one of greater
// (Hoare, 1961). Neither part is empty.
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

// middle returns the median of evenly spaced samples.
func middle(numbers []int64) int64 {
	var some [samples]int64
	for i := range some {
		some[i] = numbers[i*len(numbers)/samples]
	}
	slices.Sort(some[:])
	return some[samples/2]
}
