//go:build failpoints

package tidemill

import (
	"fmt"
	"os"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// TIDEMILL_FAILPOINT=place:count has the process killed there: for tests of what a kill must not break.
func init() {
	if what := os.Getenv("TIDEMILL_FAILPOINT"); what != "" {
		if err := failpoint.Arm(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
}
