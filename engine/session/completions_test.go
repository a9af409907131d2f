package session

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Two sessions may add different numbers of handles to one collection at the same time. No wake-up is lost.
func TestTwoSessionsAddCompletions(t *testing.T) {
	const turns = 2_000
	for round := range 100 {
		c := NewCompletions()
		var adders sync.WaitGroup
		for _, n := range []int{2, 3} {
			adders.Go(func() {
				ended := make([]*Handle, n)
				for range turns {
					c.add(ended...)
				}
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var batch []*Handle
		for got := 0; got < 5*turns; got += len(batch) {
			var err error
			if batch, err = c.Take(ctx, batch); err != nil {
				t.Fatalf("round %d: took %d of %d handles, and then got the error %v, with %d in the collection", round, got, 5*turns, err, c.Len())
			}
		}
		cancel()
		adders.Wait()
	}
}
