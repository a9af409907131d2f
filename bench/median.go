package main

import (
	"math"
	"slices"
	"time"
)

// median returns the median of the values: the mean of the middle two if their number is even, and 0 if there are none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// quantile returns, in seconds, the smallest value that at least the fraction q of the values does not exceed. It sorts
// the values in place.
func quantile(values []time.Duration, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	within := int(math.Ceil(q * float64(len(values))))
	return values[max(within, 1)-1].Seconds()
}

// medians returns a sample with the median of each quantity.
func medians(samples []sample) sample {
	all := map[quantity][]float64{}
	for _, s := range samples {
		for of, v := range s {
			all[of] = append(all[of], v)
		}
	}
	middle := sample{}
	for of, values := range all {
		middle[of] = median(values)
	}
	return middle
}
