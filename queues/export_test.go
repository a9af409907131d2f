package queues

import "context"

// Deafen makes the follower miss what it is told, as a lost message does.
func (f *Follower) Deafen(deaf bool) {
	f.log.b.conn.Flush() //nolint:errcheck // a test's connection
	if deaf {
		f.told.Close()
		return
	}
	f.told, _ = f.log.b.Topic(f.log.name.Told).Listen(f.hear)
}

// DeleteStream removes the queue's stream behind the broker's back.
func (q *Queue) DeleteStream(ctx context.Context) error {
	return q.b.js.DeleteStream(ctx, q.name.Stream)
}
