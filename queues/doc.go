// Package queues carries messages between processes in four ways over NATS JetStream. It alone knows
// streams, consumers and subjects, and [Names] names every queue there is.
//
//   - A [Queue] gives each message to one consumer at a time, at least once, under a lease.
//   - A [Log] keeps messages in one order, for any reader from any position, without gap.
//   - A [Table] keeps the last message of each key, with a revision for compare-and-set.
//   - A [Topic] tells all present listeners, at most once.
//
// The first three are one thing in JetStream, a stream, set up in three ways. All of them are opened
// from a [Broker], which is one connection: one writer, so that what one broker sends to one subject
// arrives in the order sent.
//
// What is sent is stored at least once: a send whose acknowledgement does not come is repeated until it
// does or the broker closes. The ack of a delivery is housekeeping and commits nothing (a paused
// consumer's late ack removes a message that another one holds by now): what must be decided once is
// decided by the order of a Log.
package queues
