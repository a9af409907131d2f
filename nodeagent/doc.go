// Package nodeagent executes tasks on one machine.
//
// An [Agent] pulls batches from the queues of the classes that fit it, with credit, and its slots run their tasks. Each task
// goes one way, one file a step:
//
//	claim.go    a batch is delivered and decoded, and it is decided what to do with it
//	inputs.go   the task's input is at hand before its function runs
//	attempt.go  the function runs (invoke.go), and may panic
//	outputs.go  its result or failure becomes an entry
//	record.go   the entry is recorded in the owner's log; then the batch is acked
//
// Store, record, ack is the argument for correctness: a crash between any two repeats work and loses none, since the first
// final entry in the owner's log wins.
//
// An Agent is made of these types:
//
//   - scheduler (scheduler.go): classes, levels and batches, and which slots run; scheduler.mu guards them. A change of it
//     collects pull requests, and sends them when the lock is given up
//   - slot (slot.go): runs tasks of one class one after the other; belongs to the goroutine that runs it
//   - execution (attempt.go): one attempt; whoever takes it out of its slot's current speaks for the task
//   - workers (workers.go): the goroutines that run slots
//   - slots (slots.go): the account of resources, with a lock of its own, taken last
//   - recorder (record.go): what is to be recorded, by owner; recorder.mu, taken after scheduler.mu
//   - nestedSession (nested.go): the session that owns what tasks of this agent submit
//   - owners (owners.go): which tasks and owners are cancelled or have ended; a lock of its own
//   - cancelFeed, presence (maintain.go), janitor (janitor.go): belong to the maintenance goroutine
package nodeagent
