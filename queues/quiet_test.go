package queues_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/tidemill/tidemill/queues"
)

// Once something is closed, its logger leaves out what closing explains, and nothing else.
func TestQuietAfterClosing(t *testing.T) {
	var out bytes.Buffer
	done := make(chan struct{})
	log := queues.Quiet(slog.New(slog.NewTextHandler(&out, nil)), done).With("part", "p")
	lines := func() int {
		out.Reset()
		for _, err := range []error{nats.ErrConnectionClosed, queues.ErrClosed, context.Canceled} {
			log.Warn("request", "err", fmt.Errorf("ask: %w", err))
		}
		log.Warn("request", "err", errors.New("damaged"))
		log.Warn("cancelled", "why", context.Canceled)
		return strings.Count(out.String(), "part=p")
	}
	if got := lines(); got != 5 {
		t.Errorf("before closing: got %d lines, want 5:\n%s", got, &out)
	}
	close(done)
	if got := lines(); got != 2 {
		t.Errorf("after closing: got %d lines, want the 2 that closing does not explain:\n%s", got, &out)
	}
}
