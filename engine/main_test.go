package engine_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever a test opens is closed with all its goroutines.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
