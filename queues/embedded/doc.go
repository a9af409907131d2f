// Package embedded runs a NATS server with JetStream inside this process, so that the embedded mode needs nothing installed.
//
// A [Server], which the cluster that started it owns, keeps its streams in memory, or in files below a directory that a lock
// reserves for one process. Brokers connect within the process, and others to an address if it listens on one. The server
// can be restarted under open connections; one mutex guards the server inside, and is held meanwhile. With a directory, a
// goroutine watches the disk's [Space].
//
// Close the brokers before the server: a client whose server is gone tries to reconnect until it is closed.
package embedded
