//go:build !race && !invariants

package invariant_test

import (
	"testing"

	"github.com/tidemill/tidemill/internal/invariant"
)

// Where it is not enabled, Check does not allocate for its arguments.
func TestAllocCheck(t *testing.T) {
	tasks, name := 1000, "split"
	allocs := testing.AllocsPerRun(100, func() {
		tasks++
		invariant.Check(tasks < 0, "%d tasks of %s", tasks, name)
	})
	if allocs != 0 {
		t.Errorf("Check: got %v allocations, want 0", allocs)
	}
}
