// Package invariant checks conditions that hold unless the program has a bug, so that it stops where one is violated and not
// later, in another place.
//
// Check panics in builds with the race detector (make test) or with the tag invariants; from all others the compiler removes
// it. It is not for what a user, a network or a disk can do wrong: that is an error. The package has no state.
package invariant
