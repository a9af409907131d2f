package queues

import "context"

// Deafen makes the follower miss what it is told, as a lost message does.
func (f *Follower) Deafen(deaf bool) {
	f.log.b.conn.Flush() //nolint:errcheck // a test's connection
	if deaf {
		f.told.Close()
		return
	}
	f.told, _ = f.log.b.Topic(f.log.name.Republish).Listen(f.hear)
}

// DeleteStream removes the queue's stream behind the broker's back.
func (q *Queue) DeleteStream(ctx context.Context) error {
	return q.b.js.DeleteStream(ctx, q.name.Stream)
}

// LoseAnswers makes the broker miss the server's answers to what it sends, or hear them again.
func (b *Broker) LoseAnswers(lose bool) {
	if lose {
		_ = b.out.sub.Unsubscribe()
		return
	}
	b.out.sub, _ = b.conn.Subscribe(b.out.prefix+"*", b.out.answered)
}
