// Package enginetest is a cluster inside one test: a NATS server, agents and a driver's session in this
// process, with nothing installed.
//
// [Run] puts all of it into a bubble of virtual time, in which hours of leases, backoffs and timeouts pass
// in milliseconds: the same server, the same agents, another clock. [Start] uses the time that there is.
// [Kill] ends an agent as kill -9 would, and [Faults] lose, repeat and delay what goes over the
// connections.
package enginetest
