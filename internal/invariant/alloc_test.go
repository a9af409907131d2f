//go:build !race && !invariants

package invariant_test

import (
	"testing"

	"github.com/tidemill/tidemill/internal/invariant"
)

// TestAllocCheck holds that Check is free where it is not enabled: it neither looks at what it is
// given nor boxes it.
func TestAllocCheck(t *testing.T) {
	tasks, name := 1000, "split"
	allocs := testing.AllocsPerRun(100, func() {
		tasks++
		invariant.Check(tasks < 0, "%d tasks of %s", tasks, name)
	})
	if allocs != 0 {
		t.Errorf("Check allocates %v times", allocs)
	}
}
