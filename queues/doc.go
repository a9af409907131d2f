// Package queues carries messages between processes in four ways over NATS JetStream. It alone knows streams, consumers and
// subjects, and [Names] has the name of every queue.
//
//   - A [Queue] delivers each message to one consumer at a time, at least once, under a lease. A [Puller] receives from it.
//   - A [Log] keeps messages in one order, for any reader from any position, without gaps. A [Follower] reads it as it grows.
//   - A [Table] keeps the last message of each key, with a revision for compare-and-set. A [Watcher] follows its changes.
//   - A [Topic] is core NATS: it reaches those who listen now, at most once.
//
// [Blocks] keep the parts of large values. All but a topic are streams. They are opened from a [Broker], which is one
// connection and is owned by a session, an agent or a tier of objstore. It has one writer, so that what one broker sends to
// one subject arrives in the order sent. All of them are safe for concurrent use; each mutex guards its own struct, and none is
// held while a callback runs. A Follower and a Watcher have a lock that is held over I/O and over their callback.
//
// A send is stored at least once: while no acknowledgement comes, it is repeated until one does or the broker is closed. The
// ack of a delivery commits nothing, since the late ack of a paused consumer removes a message that another consumer holds by
// then. What must be decided once is decided by the order of a Log.
package queues
