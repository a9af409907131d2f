// Package wait has the ways in which goroutines of this module wait beside a mutex: a [Signal] wakes one goroutine, a
// [Broadcast] wakes all that wait for a condition, a [Lock] excludes others while its holder does I/O, and [Pause] waits
// for a time.
//
// The first three are channels inside, so that a goroutine that waits counts as durably blocked in a testing/synctest bubble
// (one that waits for a sync.Mutex does not, and virtual time stands still), and so that a wait can be combined with
// others in a select.
package wait
