// Package embedded starts a NATS server with JetStream inside this process: the broker of the embedded
// mode, which needs nothing installed. A [Server] keeps its streams in memory, or in files below a
// directory, and lets brokers in through the process, and others through an address if it is told to
// listen.
//
// Close the brokers before the server: a client whose server is gone keeps trying to connect.
package embedded
