// Package jetstream is the shelf of objstore in a JetStream stream: values are shared by all who reach the
// server, and as durable as its streams.
//
// The layout is our own (the stock client's object store can store a corrupt object and say that all is well):
// a value is cut into leaves, which stand under <scope>.<id>.<group>.<index>; its manifest, under
// <scope>.<id>.m.0, says how long it is and what the sum of each leaf is. The manifest is written last, so
// a value is found when it is whole. Each leaf is checked when it is read.
package jetstream
