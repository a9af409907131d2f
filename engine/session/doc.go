// Package session submits tasks for one owner and folds the owner's log into their outcomes. It knows functions by name
// and values as bytes; package engine puts types on both.
//
// The outcome of a task is the first final entry for it in its owner's log: a session that itself ends a published task
// appends such an entry, and waits until it has read it. (A child that its own agent runs has no entry in the log.)
//
// A [Session] is made of these types. Four of them change together, in one transaction for each submit and for each entry
// read; Session.mu, the core lock, guards them:
//
//   - tracker (tracker.go): the open tasks, and the graph that alone decides what happens to them; timers, Flush, bounds
//   - outbox (outbox.go): the tasks that wait to be published, by class and level, and the sizes of batches
//   - children (children.go): nested tasks that this agent runs itself
//   - resume (resume.go): in a named job, the outcomes and open tasks of former runs
//
// The others have their own locks, which are taken after the core lock, and do not call the core:
//
//   - logReader (logreader.go): the session's name and log; the follower's goroutine passes records to fold (fold.go)
//   - objectSet (objects.go): the holds on objects of the store
//   - inputLoader (inputs.go): inputs that need I/O before they can be sent; one goroutine
//   - deadLetters (letter.go), cancelRows (cancelrows.go): messages and rows that the keeper must write
//
// The keeper (keep.go) is the exception: its goroutine renews the lease and does the I/O that can wait, and its lock, held
// over that I/O, is taken before the core lock.
//
// A task goes out through [Session.Submit] (submit.go): prepare without a lock, admit and commit under the core lock, send.
// Its entries come back through fold (fold.go), which passes each one to the graph. Both end in update.apply (update.go),
// which carries out the graph's commands.
//
// A [Handle] refers to a submitted task or a value, and later has its outcome. [TaskContext] is the context of a running
// task; tasks submitted with it go to the session of its agent. [Completions] collects handles as they end.
package session
