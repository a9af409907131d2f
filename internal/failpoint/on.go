//go:build failpoints

package failpoint

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var (
	mu    sync.Mutex
	place string // guarded by mu
	left  int    // guarded by mu; hits until the kill
)

// Arm chooses the place: "record.after:3" is the third time that record.after is reached.
func Arm(what string) error {
	name, count, _ := strings.Cut(what, ":")
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || name == "" {
		return fmt.Errorf("failpoint: %q: want place:count", what)
	}
	mu.Lock()
	defer mu.Unlock()
	place, left = name, n
	return nil
}

// Hit kills the process if this is the chosen place for the chosen time. It does not return then.
func Hit(name string) {
	mu.Lock()
	defer mu.Unlock()
	if name != place {
		return
	}
	if left--; left == 0 {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	}
}
