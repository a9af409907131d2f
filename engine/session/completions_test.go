package session

import (
	"context"
	"sync"
	"testing"
	"time"
)

// Two sessions may tell one collection at a time, of different numbers of handles: what takes from it is woken.
func TestCompletionsOfTwoSessions(t *testing.T) {
	const turns = 2_000
	for round := range 100 {
		c := NewCompletions()
		var tellers sync.WaitGroup
		for _, n := range []int{2, 3} {
			tellers.Go(func() {
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
				t.Fatalf("round %d: after %d of %d, with %d there: %v", round, got, 5*turns, c.Len(), err)
			}
		}
		cancel()
		tellers.Wait()
	}
}
