package queues

import "context"

// LoseRepublished makes the follower miss the messages that the server republishes, or receive them again.
func (f *Follower) LoseRepublished(lose bool) {
	f.log.b.conn.Flush() //nolint:errcheck // a test's connection
	if lose {
		f.republished.Close()
		return
	}
	f.republished, _ = f.log.b.Topic(f.log.name.Republish).Listen(f.receive)
}

// DeleteStream deletes the queue's stream without the broker's knowledge.
func (q *Queue) DeleteStream(ctx context.Context) error {
	return q.b.js.DeleteStream(ctx, q.name.Stream)
}

// LoseAnswers makes the broker miss the server's answers to its sends, or receive them again.
func (b *Broker) LoseAnswers(lose bool) {
	if lose {
		_ = b.out.sub.Unsubscribe()
		return
	}
	b.out.sub, _ = b.conn.Subscribe(b.out.prefix+"*", b.out.receiveAck)
}
