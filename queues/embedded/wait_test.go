package embedded_test

import (
	"context"
	"time"
)

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// waitFor lets others work: the process that fills a disk has nothing else to wait on.
func waitFor(d time.Duration) error {
	ctx, cancel := contextFor(d)
	defer cancel()
	<-ctx.Done()
	return nil
}
