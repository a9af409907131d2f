// Package faults makes the faults of a network, repeatably, on connections between a NATS client and its
// server: for tests of what stands above.
//
// A [Plan] says how often what happens; it wraps the client's side of each connection, reads the NATS
// protocol in both directions, and loses, repeats and delays messages, or cuts the connection. What is no
// message (PING, SUB, INFO, …) passes untouched: a network that loses one of these has lost the
// connection, and that is a cut.
//
// A decision hashes the seed, the connection's name, the operation and its count there. So a seed repeats
// the faults, though not the schedule around them. The package knows nothing of JetStream, and promises
// nothing about bytes that are not NATS: they pass as they came, and are reported.
package faults
