package invariant

import "fmt"

// Check panics unless holds is true, in builds where Enabled is; in others it does nothing. The
// message is formatted as by fmt.Sprintf, and names the ID concerned.
//
// Its arguments are evaluated in every build. Where that costs something, ask first:
//
//	if invariant.Enabled {
//		invariant.Check(slices.IsSorted(log), "session %s: log out of order", id)
//	}
func Check(holds bool, format string, args ...any) {
	if Enabled && !holds {
		broken(format, args)
	}
}

// Unreachable panics, in every build. It stands where the program cannot come, such as the default
// of a switch over a closed set.
func Unreachable(format string, args ...any) {
	broken(format, args)
}

// broken is apart from Check so that Check is small enough to be inlined.
func broken(format string, args []any) {
	panic("invariant broken: " + fmt.Sprintf(format, args...))
}
