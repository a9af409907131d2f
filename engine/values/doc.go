// Package values moves values between messages and the object store.
//
// [Store.Fit] makes a value fit into a message: what is too large is put into the object store, and the value names the
// object. [Store.Read] and [Store.Fetch] get the bytes of the objects; Fetch also returns [Pins], which keep them in memory
// while they are used. A session and an agent have a [Store] each. It has no state beside the object store and takes no
// lock, so it can be used concurrently; Pins belong to the goroutine that has fetched them.
package values
