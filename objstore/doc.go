// Package objstore keeps immutable values under their IDs and brings them to whoever asks.
//
// A [Key] is a scope (whose the value is) and an [ID]. A [Tier] is one kind of place where values are kept: in
// this process (objstore/memory), in JetStream (objstore/jetstream). A [Store] puts values into a tier, knows
// those that it has already, and hands them out under a [Pin], which keeps a value's bytes in place while
// somebody reads them.
//
// What was put is never changed and is found by its key until it, or its whole scope, is removed; sizes are
// known before bytes are moved. Who holds a value, and when nobody does any more, is decided above.
package objstore
