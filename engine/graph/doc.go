// Package graph decides what an owner does next, without I/O, clock or goroutine.
//
// A [Graph] knows the open tasks of one owner. [Graph.Step] takes an [Event] (a task was submitted, an
// entry was read from the owner's log, a backoff has passed) and returns [Command]s (dispatch, resolve,
// wait, give up); who calls it carries them out and tells of what follows by further events. Since the
// outcome of a task is the first final entry for it in the log, every later entry of that task is
// ignored here, and with that a second delivery, a zombie's result and a repeated send are one rule.
//
// The same events in the same order give the same commands, jitter included: a story in testdata can be
// written down, and a schedule that broke something can be run again.
package graph
