// Package lease lets one process at a time hold a name.
//
// A [Lease] is a row ([Row]) of a key-value table that its holder renews; compare-and-set on the row's revision decides who
// holds it. [Take] waits until the lease of a holder that no longer renews has run out; [Try] does not wait. No two clocks
// are compared: the holder counts [Duration] from before each renewal, by its own monotonic clock, and everybody else from
// when they first read that revision of the row.
//
// A Lease belongs to one goroutine and has no lock. In a session that is the keeper's, in an agent the janitor's.
package lease
