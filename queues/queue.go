package queues

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Queue delivers each message to one consumer at a time, at least once. A delivery is leased: if neither Ack nor Extend is
// called within Lease, the server redelivers the message, to any consumer.
type Queue struct {
	b    *Broker
	name QueueName
}

// Lease is how long a delivery is leased without Extend.
const Lease = 15 * time.Second

// maxWaiting bounds the open pull requests of a consumer. It cannot be changed later.
const maxWaiting = 4096

// OpenQueue returns the queue. It creates its stream and its consumer unless they exist.
func (b *Broker) OpenQueue(ctx context.Context, name QueueName) (*Queue, error) {
	if err := b.ensureQueue(ctx, name); err != nil {
		return nil, err
	}
	return &Queue{b, name}, nil
}

// ensureQueue creates the stream and the consumer, unless this broker has created them before.
func (b *Broker) ensureQueue(ctx context.Context, name QueueName) error {
	err := b.ensureStream(ctx, jetstream.StreamConfig{
		Name: name.Stream, Subjects: name.Binds, AllowDirect: true,
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
		MaxConsumers: 32, // an ack costs O(consumers)
	})
	if err != nil {
		return err
	}
	return b.once(name.Stream+" "+name.Consumer, func() error { return b.createConsumer(ctx, name) })
}

// Restore creates the stream and the consumer again if they are gone: a server that was restarted has lost its consumers, and
// somebody may have deleted the stream.
func (q *Queue) Restore(ctx context.Context) error {
	q.b.forget(q.name.Stream, q.name.Stream+" "+q.name.Consumer)
	return q.b.ensureQueue(ctx, q.name)
}

// createConsumer creates the one consumer of the queue. It has no limit of deliveries (a message beyond it would be stuck for
// ever) nor of messages in flight (the default stops delivery at 1,000).
func (b *Broker) createConsumer(ctx context.Context, name QueueName) error {
	err := b.retry(ctx, func(ctx context.Context) error {
		_, err := b.js.CreateOrUpdateConsumer(ctx, name.Stream, jetstream.ConsumerConfig{
			Durable: name.Consumer, FilterSubject: name.Subject,
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: Lease, MaxDeliver: -1,
			MaxAckPending: -1, MaxWaiting: maxWaiting, MemoryStorage: true,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("queues: create consumer %s of %s: %w", name.Consumer, name.Stream, err)
	}
	return nil
}

// Send stores a message, on the queue's subject, and returns at once. done is called once, with nil when the message is stored
// or with the error (ErrFull, ErrNoStream, …), on a goroutine that it must not block.
func (q *Queue) Send(m Message, done func(error)) {
	m.Subject = q.name.Subject
	q.b.out.send(m, func(_ uint64, err error) { done(err) })
}

// Publish stores messages and returns when all have an answer, with the first error. If ctx ends first, some may be stored and
// some not.
func (q *Queue) Publish(ctx context.Context, messages ...Message) error {
	return publish(ctx, messages, q.Send)
}

// publish sends all messages and waits for all answers.
func publish(ctx context.Context, messages []Message, send func(Message, func(error))) error {
	answers := make(chan error, len(messages))
	for _, m := range messages {
		send(m, func(err error) { answers <- err })
	}
	var first error
	for range messages {
		select {
		case err := <-answers:
			if first == nil {
				first = err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return first
}

// List yields the messages that wait in the queue or are leased, in the order of sequences, and leases none. It may include
// messages that are sent meanwhile. It stops at the first error, which it yields.
func (q *Queue) List(ctx context.Context) iter.Seq2[LogEntry, error] {
	return q.b.read(ctx, q.name.Stream, q.name.Subject, 0)
}

// Last returns the sequence of the latest message in the queue, 0 if it is empty. The queues of a class share one stream, and
// so its sequences.
func (q *Queue) Last(ctx context.Context) (uint64, error) {
	return q.b.last(ctx, q.name.Stream, q.name.Subject)
}

// Delivery is a message under lease.
type Delivery struct {
	Message
	Sequence uint64 // of the message in its stream
	Count    int    // number of this delivery, from 1, as far as the server remembers: no count of attempts
	Stored   int64  // when the message was stored, in Unix nanoseconds: with Sequence it identifies the message, even if the stream was recreated
	ack      string
	conn     *nats.Conn
}

// Ack removes the message from the queue. It is sent without confirmation: if it is lost, the server redelivers the message.
func (d *Delivery) Ack() error { return d.conn.Publish(d.ack, []byte("+ACK")) }

// Extend restarts the lease.
func (d *Delivery) Extend() error { return d.conn.Publish(d.ack, []byte("+WPI")) }

// Confirm returns when the server has processed every Ack, Extend and Nak that this broker sent before for this queue: those
// in flight when a server ends are lost.
func (d *Delivery) Confirm(ctx context.Context) error {
	_, err := d.conn.RequestWithContext(ctx, d.ack, []byte("+WPI"))
	return err
}

// Nak returns the message: the server redelivers it at once.
func (d *Delivery) Nak() error { return d.conn.Publish(d.ack, []byte("-NAK")) }

var errAckSubject = errors.New("queues: the delivery has no valid ack subject")

// newDelivery reads count and sequence from the ack subject, of which there are two forms:
//
//	$JS.ACK.<stream>.<consumer>.<count>.<sequence>.<consumer sequence>.<time>.<pending>
//	$JS.ACK.<domain>.<account>.<stream>.<consumer>.<count>.<sequence>.…
func newDelivery(msg *nats.Msg, conn *nats.Conn) (*Delivery, error) {
	tokens := strings.Split(msg.Reply, ".")
	at := 4
	if len(tokens) >= 11 {
		at = 6
	}
	if len(tokens) < 9 || tokens[0] != "$JS" || tokens[1] != "ACK" {
		return nil, fmt.Errorf("%w: %q", errAckSubject, msg.Reply)
	}
	count, err1 := strconv.Atoi(tokens[at])
	sequence, err2 := strconv.ParseUint(tokens[at+1], 10, 64)
	stored, err3 := strconv.ParseInt(tokens[at+3], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("%w: %q", errAckSubject, msg.Reply)
	}
	return &Delivery{Message: fromNATS(msg), Sequence: sequence, Count: count, Stored: stored, ack: msg.Reply, conn: conn}, nil
}
