// Package mean keeps moving means of durations that are measured by the clock.
//
// A measured duration may contain a pause of the scheduler or of the machine, a thousand times the real one: such a
// measurement must not change a decision for long. So a [Moving] counts each measurement with at most [Clip] times the
// mean. A Moving has no lock: whatever guards its owner guards it.
package mean
