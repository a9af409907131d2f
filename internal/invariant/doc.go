// Package invariant states what must hold, so that a broken promise stops the program where it broke
// and not three queues later.
//
// Check is for what a reader may rely on and a test should try: it panics in builds with the race
// detector (make test) or with the tag invariants, and in any other build the compiler removes it.
// Unreachable always panics. Neither is for what a user, a network or a disk can do wrong: that is an
// error.
package invariant
