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

// Queue gives each message to one consumer at a time, at least once. A message is leased when it is
// delivered, and comes again, to anyone, if neither Ack nor Extend is called within Lease.
type Queue struct {
	b    *Broker
	name QueueName
}

// Lease is how long a delivery is its receiver's without a word from it.
const Lease = 15 * time.Second

// maxWaiting bounds the open pull requests of a consumer. It cannot be changed later.
const maxWaiting = 4096

// OpenQueue returns the queue, which it makes if there is none yet.
func (b *Broker) OpenQueue(ctx context.Context, name QueueName) (*Queue, error) {
	if err := b.ensureQueue(ctx, name); err != nil {
		return nil, err
	}
	return &Queue{b, name}, nil
}

// ensureQueue makes the stream and the consumer, unless they exist for sure.
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

// Restore makes what is gone of the queue: a server that was started anew has forgotten its consumers,
// and somebody may have removed the stream.
func (q *Queue) Restore(ctx context.Context) error {
	q.b.forget(q.name.Stream, q.name.Stream+" "+q.name.Consumer)
	return q.b.ensureQueue(ctx, q.name)
}

// createConsumer makes the one consumer of the queue. It bounds neither deliveries (a message beyond that
// bound would be stuck for ever) nor messages in flight (its default stops delivery at 1,000).
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

// Send stores a message and returns at once; done is called once, when the message is stored (nil) or
// refused (ErrFull, ErrNoStream, …), on a goroutine that it must not block. The message's subject is the
// queue's.
func (q *Queue) Send(m Message, done func(error)) {
	m.Subject = q.name.Subject
	q.b.out.send(m, func(_ uint64, err error) { done(err) })
}

// Publish stores messages and returns when all are stored, or with the first refusal. If ctx ends before
// that, some may be stored and some not.
func (q *Queue) Publish(ctx context.Context, messages ...Message) error {
	return publish(ctx, messages, q.Send)
}

// publish sends all messages and waits for all.
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

// List yields what waits in the queue or is leased, in the order of sequences, and takes nothing. What is
// sent while it reads may be in it or not. An error ends it.
func (q *Queue) List(ctx context.Context) iter.Seq2[LogEntry, error] {
	return q.b.read(ctx, q.name.Stream, q.name.Subject, 0)
}

// Last returns the sequence of the newest message in the queue, 0 if it is empty. Queues of one class
// share their sequences.
func (q *Queue) Last(ctx context.Context) (uint64, error) {
	return q.b.last(ctx, q.name.Stream, q.name.Subject)
}

// Delivery is a message under lease.
type Delivery struct {
	Message
	Sequence uint64 // of the message in its queue
	Count    int    // 1 is the first delivery, as far as the server remembers: no budget
	Stored   int64  // when the message was stored, in nanoseconds since 1970: with Sequence, it is this message
	ack      string
	conn     *nats.Conn
}

// Ack removes the message from the queue. It is sent, not confirmed: if it is lost, the message comes
// again.
func (d *Delivery) Ack() error { return d.conn.Publish(d.ack, []byte("+ACK")) }

// Extend begins the lease anew.
func (d *Delivery) Extend() error { return d.conn.Publish(d.ack, []byte("+WPI")) }

// Confirm returns when the server has worked off all that was told it of this and of earlier deliveries of
// the queue: acks that are under way when a server ends are lost.
func (d *Delivery) Confirm(ctx context.Context) error {
	_, err := d.conn.RequestWithContext(ctx, d.ack, []byte("+WPI"))
	return err
}

// Nak gives the message back: it is delivered again at once.
func (d *Delivery) Nak() error { return d.conn.Publish(d.ack, []byte("-NAK")) }

var errAckSubject = errors.New("queues: delivery without an ack subject")

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
