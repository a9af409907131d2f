package graph

import "time"

// Delays before a task is dispatched again: doubled each time from the first, up to longestBackoff,
// less up to a half, so that what failed together does not come again together.
const (
	errorBackoff   = 100 * time.Millisecond
	lossBackoff    = 500 * time.Millisecond
	longestBackoff = 30 * time.Second
	refusedDelay   = time.Second
)

// lostTogether is how many neighbours come again at the same time after a loss, so that they can share
// batches.
const lostTogether = 64

// together returns a number that tasks share which are to come again together after their n-th loss. Those that are to
// run alone come apart: two that came to one agent at once would be lost together again, however harmless one of them is.
func together(number uint64, losses int) uint64 {
	if losses >= Alone {
		return number
	}
	return number / lostTogether
}

// backoff returns the delay before the try after the n-th failure.
func (g *Graph) backoff(first time.Duration, number uint64, n int) time.Duration {
	delay := longestBackoff
	if doublings := n - 1; doublings < 16 {
		delay = min(delay, first<<doublings)
	}
	share := mix(g.seed^mix(number)^uint64(n)) % 1024
	return delay - delay*time.Duration(share)/2048
}

// mix spreads the bits of x: the finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
