// Package failpoint kills this process at a chosen place in the code, as kill -9 does. Tests use it to show that a kill
// between any two steps of a task loses nothing. Without the build tag failpoints, Hit does nothing and is removed by the
// compiler.
//
// The chosen place is global to the process; one mutex guards it, and no other lock is taken under it.
package failpoint
