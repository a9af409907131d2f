// Package session submits tasks for one owner and folds the owner's log into their outcomes. It knows
// functions by name and values as bytes; package engine puts types on both.
//
// A [Session] has one way down and one way back. [Session.Submit] numbers a task and places it in the
// lane of its class (submit.go, place.go); what waits in a lane flows together into a batch when the
// lane's writer is free (outbox.go). Entries come back through the log, go through the graph, which
// alone decides what they mean, and resolve [Handle]s or put tasks on the way again (fold.go, retry.go).
//
// A [Registry] keeps functions by name for whoever executes them, [Slots] are an agent's account of what
// it has, and [TaskContext] is what a function's context says of the task that it runs.
//
// The outcome of a task is the first final entry for it in the log, and nothing else is: a session that
// learns of an end in another way appends an entry and waits until it reads it.
package session
