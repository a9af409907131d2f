package engine_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever a test opens is closed with all its goroutines, but for the server's clock, which enginetest
// keeps outside of every bubble.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}
