// Package nodeagent executes tasks on one machine.
//
// An [Agent] draws batches from the queues of the classes that fit it, by credit, and deals their tasks
// to its slots. Each task goes one way, one file a step:
//
//	claim.go    a batch is drawn and decoded
//	inputs.go   the task's input is at hand before its function runs
//	execute.go  the function runs, and may panic
//	outputs.go  its result or failure becomes an entry
//	record.go   the entry is recorded in the owner's log; then the batch is acked
//
// Store, record, ack is the argument for correctness: a crash between any two repeats work and loses
// none, since the first final entry in the owner's log wins.
package nodeagent
