package embedded_test

import (
	"context"
	"time"
)

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// waitFor waits in the process that fills a disk, which has nothing to be notified by.
func waitFor(d time.Duration) {
	ctx, cancel := contextFor(d)
	defer cancel()
	<-ctx.Done()
}
