// Package engine is the API for programs: functions that run as tasks in the cluster, and references to their results.
//
// A [Func] is a function registered under a name. [Func.Submit] submits a task that calls it and returns a [Ref] to the
// result at once; [Ref.Get] waits for the result. [Map] runs a function over a sequence with a bounded number of tasks in
// flight, and yields results as they complete. [GetAll], [Wait] and [Completed] wait for many Refs. [Put] stores a value
// that tasks share by reference.
//
//	var Square = engine.NewFunc("square", func(ctx context.Context, n int) (int, error) {
//		return n * n, nil
//	})
//
//	v, err := Square.Submit(ctx, 7).Get(ctx) // 49
//
// Every call takes a context that carries the session to which tasks are submitted: in a driver, the one from package
// tidemill (Main or Cluster.Context); in a function, the function's own. A function can submit tasks itself (nested tasks).
// While it waits for them, other tasks use its CPUs; its result may contain Refs to theirs.
//
// The name of a Func identifies the function on the wire and in every agent; the Go identifier does not. Inputs and
// results are always copied through an encoding, even when everything runs in one process, so the caller and the function
// share no memory. A task runs at least once, and gets exactly one outcome: a function with side effects should make them
// idempotent, for example with [TaskID] as the key.
package engine
