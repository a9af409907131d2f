// Package values moves values between messages and the object store.
//
// A [Store] makes a value fit into a message: what is too large becomes an object, named by its scope and ID
// ([Store.Fit]). It brings the bytes of objects back ([Store.Read], [Store.Fetch]); [Pins] keep them in memory while
// they are used. Sessions and agents do the same with it. A Store has no state of its own and takes no lock; it may be
// used concurrently.
package values
