// Package session submits tasks for one owner and folds the owner's log into their outcomes. It knows functions by name
// and values as bytes; package engine puts types on both.
//
// The outcome of a task is the first final entry for it in its owner's log, and nothing else is: a session that learns of
// an end in another way appends an entry and waits until it reads it. The exception is a child that the session's own agent
// runs: nobody else can decide its outcome, so its entries come by a call, and are stored nowhere.
//
// A [Session] is made of these types. Four of them change together, in one transaction for each submit and for each entry
// that comes back; Session.mu, the core lock, guards them:
//
//   - tracker (tracker.go): the open tasks, and the graph that alone decides what happens to them; timers, Flush, bounds
//   - outbox (outbox.go): what waits to be published, by class and level, and how large a batch may be
//   - children (children.go): tasks of tasks that this agent runs itself
//   - resume (resume.go): in a named job, what former runs have left
//
// The others have locks of their own, which are taken after the core lock and under which no other lock is taken. None
// of them calls the core:
//
//   - logReader (logreader.go): the session's name and log; the follower's goroutine hands records to fold (fold.go)
//   - keeper (keep.go): the lease; one goroutine renews it and does the I/O that can wait
//   - objectSet (objects.go): who holds which objects of the store
//   - inputLoader (inputs.go): inputs that need I/O before they can be sent; one goroutine
//   - deadLetters (letter.go), cancelRows (cancelrows.go): what the keeper is to write
//
// The way down is [Session.Submit] (submit.go): prepare without a lock, admit and commit under the core lock, send. The way
// back is fold (fold.go), which hands each entry to the graph. Both end in apply (apply.go), which carries out what the
// graph commands.
//
// A [Handle] is what whoever submitted holds of a task. [TaskContext] is the context of a running task, and leads what it
// submits to the session of its agent. [Completions] collects handles as they end.
package session
