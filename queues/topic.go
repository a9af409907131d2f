package queues

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Topic is a subject of core NATS: a message reaches those who listen now, at most once.
type Topic struct {
	b    *Broker
	name TopicName
}

// Topic returns the topic. It has no state at the server.
func (b *Broker) Topic(name TopicName) *Topic { return &Topic{b, name} }

// Publish sends a message to those who listen now.
func (t *Topic) Publish(data []byte) error {
	if err := t.b.conn.Publish(string(t.name), data); err != nil {
		return fmt.Errorf("queues: publish to %s: %w", t.name, err)
	}
	return nil
}

// Listener is a subscription to a topic.
type Listener struct{ sub *nats.Subscription }

// Listen calls handle for each message from now on, on one goroutine, in order. Messages wait for handle in memory, without
// a bound.
func (t *Topic) Listen(handle func(Message)) (*Listener, error) {
	sub, err := t.b.conn.Subscribe(string(t.name), func(msg *nats.Msg) { handle(fromNATS(msg)) })
	if err != nil {
		return nil, fmt.Errorf("queues: listen to %s: %w", t.name, err)
	}
	_ = sub.SetPendingLimits(-1, -1)
	return &Listener{sub}, nil
}

// Close ends the subscription. A call of handle may still be running.
func (l *Listener) Close() { _ = l.sub.Unsubscribe() }
