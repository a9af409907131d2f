package graph

import "time"

// Delays before a task is dispatched again. A backoff doubles with each failure up to longestBackoff; a random part of up
// to a half is taken off, so that tasks that failed together are not dispatched again together.
const (
	errorBackoff   = 100 * time.Millisecond
	lossBackoff    = 500 * time.Millisecond
	longestBackoff = 30 * time.Second
	refusedDelay   = time.Second
)

// lossGroup is how many tasks with neighbouring numbers have the same delay after a loss, so that they can share batches.
const lossGroup = 64

// retryGroup returns a number that is the same for all tasks that are to be dispatched again together after so many losses.
// Tasks that are to run alone are groups of their own: two of them on one agent would be lost together again, even if only
// one of them kills it.
func retryGroup(number uint64, losses int) uint64 {
	if losses >= Alone {
		return number
	}
	return number / lossGroup
}

// backoff returns the delay after the n-th failure, with first as that after the first one, before jitter.
func (g *Graph) backoff(first time.Duration, number uint64, n int) time.Duration {
	delay := longestBackoff
	if doublings := n - 1; doublings < 16 {
		delay = min(delay, first<<doublings)
	}
	part := mix(g.seed^mix(number)^uint64(n)) % 1024
	return delay - delay*time.Duration(part)/2048
}

// mix spreads the bits of x: the finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
