package queues

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Topic tells all present listeners, at most once.
type Topic struct {
	b    *Broker
	name TopicName
}

// Topic returns the topic. Nothing is made for it.
func (b *Broker) Topic(name TopicName) *Topic { return &Topic{b, name} }

// Publish sends the message to who listens now.
func (t *Topic) Publish(data []byte) error {
	if err := t.b.conn.Publish(string(t.name), data); err != nil {
		return fmt.Errorf("queues: tell %s: %w", t.name, err)
	}
	return nil
}

// Listener listens to a topic.
type Listener struct{ sub *nats.Subscription }

// Listen calls handle for what is told from now on, on one goroutine, in order. What handle has not taken
// yet waits in memory, without a bound.
func (t *Topic) Listen(handle func(Message)) (*Listener, error) {
	sub, err := t.b.conn.Subscribe(string(t.name), func(msg *nats.Msg) { handle(fromNATS(msg)) })
	if err != nil {
		return nil, fmt.Errorf("queues: listen to %s: %w", t.name, err)
	}
	_ = sub.SetPendingLimits(-1, -1)
	return &Listener{sub}, nil
}

// Close ends the listening. A call of handle may still be under way.
func (l *Listener) Close() { _ = l.sub.Unsubscribe() }
