package engine_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Every test closes what it opens, and leaves no goroutine behind. The exception is the clock of the NATS server, which
// enginetest starts once, outside of every synctest bubble.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}
