// Package enginetest runs a whole cluster inside one test: a NATS server, agents and a driver's session, with nothing
// installed.
//
// [Run] gives a test a cluster in virtual time, in which hours of leases, backoffs and timeouts pass in milliseconds;
// [Bubble] gives it virtual time alone, and a process of its own. [Start] starts a cluster in the time in which it is
// called. A [Config] describes the cluster. [Kill] ends an agent as kill -9 would, [Rerun] does so with the driver of a
// named job, and [Faults] lose, repeat and delay messages and cut connections until [Calm] ends them. [Settle] waits
// until nothing is left of the tasks.
//
// The package has one type of its own inside, the cluster, which the context of a test carries. Its mutex guards the set
// of running nodes; the methods that start and end them are safe for concurrent use.
package enginetest
