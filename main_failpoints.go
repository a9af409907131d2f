//go:build failpoints

package tidemill

import (
	"fmt"
	"os"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// With TIDEMILL_FAILPOINT=place:count, the process kills itself when it reaches the failpoint for the count-th time. Tests
// use this to show what survives a kill.
func init() {
	if value := os.Getenv("TIDEMILL_FAILPOINT"); value != "" {
		if err := failpoint.Arm(value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
}
