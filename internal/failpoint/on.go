//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

var (
	mu    sync.Mutex
	place string // guarded by mu
	left  int    // guarded by mu; how many hits until the kill
)

// Arm chooses the place of the kill: "record.after:3" is the third call of Hit("record.after").
func Arm(what string) error {
	name, count, _ := strings.Cut(what, ":")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || name == "" {
		return fmt.Errorf("failpoint: arm %q: want place:count, with a count of at least 1", what)
	}
	mu.Lock()
	defer mu.Unlock()
	place, left = name, n
	return nil
}

// Hit kills the process if this is the chosen place and count. It does not return then.
func Hit(name string) {
	mu.Lock()
	defer mu.Unlock()
	if name != place {
		return
	}
	if left--; left == 0 {
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
		select {}
	}
}
