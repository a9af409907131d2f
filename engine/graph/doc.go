// Package graph decides what an owner does next, without I/O, clock or goroutine.
//
// A [Graph] has the open tasks of one owner. [Graph.Step] takes an [Event] (a task was submitted, an entry was read from
// the owner's log, a delay has passed) and returns [Command]s (dispatch, resolve, wait, end). The caller carries them out
// and reports what follows by further events. The outcome of a task is the first final entry for it in the log, and every
// later entry for it is ignored. This one rule covers redelivered batches, late results of agents that were taken for dead,
// and messages that were sent twice.
//
// [Past] folds what former runs of a named job have left, [Progress] the notes of one task, and [Holds] who needs which
// object. [Pages] is a map by task number. None of these types has a lock: whoever owns one guards it. A session owns its
// Graph, its Past and its Holds; an agent folds a Progress for each task of a batch from before a restart of the server.
//
// The same events in the same order give the same commands, jitter included. So stories in testdata can list them, and a
// random schedule that has failed can be repeated from its seed.
package graph
