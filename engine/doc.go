// Package engine is what users write: typed names for functions, and typed references to values that
// exist or will.
//
// A [Func] is a function under a name. [Func.Submit] makes a task of a call and returns a [Ref] at once;
// [Ref.Get] waits for the result. [Map] runs a function over a sequence with a bounded number of tasks
// under way and yields results as they come. [GetAll], [Wait] and [Completed] wait for many.
//
//	var Square = engine.NewFunc("square", func(ctx context.Context, n int) (int, error) {
//		return n * n, nil
//	})
//
//	v, err := Square.Submit(ctx, 7).Get(ctx) // 49
//
// A function submits tasks itself, with its context: nested tasks. Waiting for them lends the slot, and a Ref to one may
// be a part of the function's result.
//
// The context that package tidemill gives carries the session that tasks are submitted to.
//
// The name is the protocol: it names the function on the wire and in every agent, and the Go identifier
// does not. Inputs and results are copied through an encoding, embedded too, so caller and function
// share no memory. A task runs at least once, and its outcome is decided once: a function with effects
// of its own should make them idempotent, with [TaskID] for a name.
package engine
