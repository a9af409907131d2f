package invariant

import "fmt"

// Check panics if holds is false, in builds where Enabled is true; in others it does nothing. The message is formatted as by
// fmt.Sprintf, and has the ID concerned.
//
// Its arguments are evaluated in every build. If that is expensive, test Enabled first:
//
//	if invariant.Enabled {
//		invariant.Check(slices.IsSorted(log), "session %s: log out of order", id)
//	}
func Check(holds bool, format string, args ...any) {
	if Enabled && !holds {
		broken(format, args)
	}
}

// broken is a function of its own so that Check is small enough to be inlined.
func broken(format string, args []any) {
	panic("invariant broken: " + fmt.Sprintf(format, args...))
}
