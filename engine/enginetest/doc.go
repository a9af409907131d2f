// Package enginetest runs a whole cluster inside one test: a NATS server, agents and a driver's session, with nothing
// installed.
//
// [Run] runs a test with a cluster in virtual time, in which hours of leases, backoffs and timeouts pass in milliseconds.
// [RunAlone] does the same in a separate process, and [Bubble] runs a test in virtual time in a separate process, without a
// cluster. [Start] starts a cluster in real time, or in the bubble of its caller. A [Config] describes the cluster. [Kill]
// ends an agent as kill -9 would, and [Rerun] the driver of a named job. [Faults] lose, repeat and delay messages and cut
// connections until [Calm] ends them. [Settle] waits until the cluster has nothing left to do.
//
// The context of a test carries its cluster. The functions that start and end nodes are safe for concurrent use.
package enginetest
