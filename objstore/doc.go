// Package objstore stores immutable values by key.
//
// A [Key] is a scope (whose the value is) and an [ID]. A [Tier] is a place where values are stored: this process
// (objstore/memory) or a JetStream stream (objstore/jetstream). A [Store], owned by a session or an agent, puts values into
// one tier, stores equal values once, and caches values of a remote tier; [Store.Get] returns a [Pin], which keeps a value's
// bytes in memory while somebody reads them. All of them are safe for concurrent use. A store has one lock, that of its
// cache, which is not held while a tier is called.
//
// A value never changes. It is found by its key until it, or its whole scope, is removed. Its size is known before its
// bytes are moved. The callers decide who references a value and when it is removed.
package objstore
