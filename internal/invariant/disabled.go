//go:build !race && !invariants

package invariant

// Enabled tells whether Check checks: in builds with -race or -tags invariants.
const Enabled = false
