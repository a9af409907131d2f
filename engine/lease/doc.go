// Package lease lets one process at a time hold a name.
//
// A [Lease] is a row ([Row]) of a table that its holder renews; compare-and-set on the row's revision decides who holds
// it. [Take] waits until a silent holder's time is over, [Try] does not wait. No two clocks are compared: the holder
// counts [Duration] from before each renewal by its own monotonic clock, others from when they have seen the row.
//
// A Lease belongs to one goroutine, and has no lock.
package lease
