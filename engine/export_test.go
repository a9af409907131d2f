package engine

import "runtime"

// OnCollect calls f when the garbage collector has found that nothing refers to the value of the Ref any more. f runs on
// the runtime's goroutine for cleanups, and must not refer to the Ref.
func OnCollect[T any](r Ref[T], f func()) { runtime.AddCleanup(r.h, func(f func()) { f() }, f) }
