// Package faults injects network faults, repeatably, into connections between NATS clients and their server, for tests.
//
// A [Plan] has the probability of each fault. It wraps the client's side of connections, reads the NATS protocol in both
// directions, and loses, repeats and delays messages, or cuts the connection. Other operations (PING, SUB, INFO, …) pass
// unchanged: a network that loses one of them has lost the connection, which is a cut.
//
// Whether a message has a fault depends only on a hash of the seed, the connection's name, the kind of the subject and a
// count. So a seed repeats the faults, though not the schedule around them. Bytes that are not the NATS protocol pass
// unchanged, and are reported.
//
// The test owns the Plan, which one mutex guards. A wrapped connection has four goroutines, which its Close waits for.
package faults
