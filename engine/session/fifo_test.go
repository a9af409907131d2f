package session

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A fifo has the same numbers as a plain slice, after any sequence of operations.
func TestFifo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a fixed sequence is what is wanted
	var q fifo
	var want []uint64
	next := uint64(0)
	for range 20_000 {
		switch r.IntN(5) {
		case 0, 1, 2:
			for range r.IntN(40) {
				next++
				q.push(next)
				want = append(want, next)
			}
		case 3:
			n := r.IntN(len(want) + 1)
			q.take(n)
			want = want[n:]
		case 4:
			next++
			q.putBack([]uint64{next})
			want = append([]uint64{next}, want...)
		}
		if r.IntN(1000) == 0 {
			q.take(q.len())
			want = nil
		}
		got := []uint64{}
		for i := range q.len() {
			got = append(got, q.at(i))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// The memory of a fifo does not grow with how many numbers have passed through it.
func TestFifoMemory(t *testing.T) {
	var q fifo
	for i := range uint64(1_000_000) {
		q.push(i)
		if i >= 100 {
			q.take(1)
		}
	}
	if cap(q.numbers) > 1024 {
		t.Errorf("a queue of 100 numbers has a capacity of %d, want at most 1024", cap(q.numbers))
	}
	for i := range uint64(1_000_000) { // the queue becomes long, and then short again
		q.push(i)
	}
	q.take(q.len() - 10)
	for i := range uint64(4_000_000) {
		q.push(i)
		q.take(1)
	}
	if cap(q.numbers) > 4*fifoKeeps {
		t.Errorf("a queue of 10 numbers has a capacity of %d, want at most %d", cap(q.numbers), 4*fifoKeeps)
	}
}
