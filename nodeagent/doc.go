// Package nodeagent executes tasks on one machine.
//
// An [Agent] requests batches from the queues of the classes that fit its node, and its slots run their tasks. Each task
// passes through these steps, with a file for each:
//
//	claim.go    a batch is delivered and decoded, and its disposition decided: run, prepare, hand back, …
//	inputs.go   the bytes of large inputs are fetched, before the batch is accepted
//	attempt.go  the function runs (invoke.go), and may panic
//	outputs.go  its result or failure becomes an entry
//	record.go   the entry is recorded in the owner's log; then the batch is acked
//
// The order is: store large results, record, ack. A crash between any two of these repeats work and loses none; and since
// the first final entry in the owner's log is the outcome, repeated work changes no outcome.
//
// An Agent is made of these types:
//
//   - scheduler (scheduler.go): the classes, levels and batches, and the running slots; scheduler.mu guards them. A change
//     of it collects pull requests, and sends them after the lock is released
//   - slot (slot.go): runs tasks of one class one after the other; belongs to the goroutine that runs it
//   - execution (attempt.go): one attempt; the goroutine that takes it out of slot.current delivers its entry
//   - workers (workers.go): the goroutines that run slots
//   - slots (slots.go): the account of free resources; has its own lock, taken last
//   - recorder (record.go): the entries to be recorded, by owner; recorder.mu is taken after scheduler.mu
//   - nestedSession (nested.go): the session that owns the nested tasks of this agent
//   - owners (owners.go): the cancelled and late tasks, and the sessions that have ended; has its own lock
//   - cancelFeed, presence (maintain.go), janitor (janitor.go): belong to the maintenance goroutine, except fields that say
//     otherwise
//
// The specs of a batch need no lock: slots take them by an atomic counter (batch.start).
package nodeagent
