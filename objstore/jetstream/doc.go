// Package jetstream is the tier of objstore in a JetStream stream: all who reach the server share the values, which are as
// durable as its streams. A [Tier] owns a connection and has no lock of its own.
//
// A value is cut into leaves, stored under <scope>.<id>.<group>.<index>. Its manifest, under <scope>.<id>.m.0, has its length
// and the checksum of each leaf, and is written last: a value exists if its manifest does. Each leaf is checked when it is
// read. (The client library's object store is not used: it can store a corrupt object and report success.)
package jetstream
