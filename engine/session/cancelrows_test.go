package session_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemill/tidemill/engine/session"
)

// logWatch is a handler of logs that passes on each line with a text in it.
type logWatch struct {
	slog.Handler
	text string
	to   chan time.Time
}

func (h logWatch) Enabled(context.Context, slog.Level) bool { return true }

func (h logWatch) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.text) {
		select {
		case h.to <- time.Now():
		default:
		}
	}
	return nil
}

// fill lets no more rows be written to a table.
func (h *harness) fill(table string) {
	h.Helper()
	js, err := jetstream.New(h.conn)
	check(h.T, err)
	stream, err := js.Stream(h.ctx, "KV_"+table)
	check(h.T, err)
	cfg := stream.CachedInfo().Config
	cfg.MaxBytes, cfg.Discard = 1, jetstream.DiscardNew
	_, err = js.UpdateStream(h.ctx, cfg)
	check(h.T, err)
}

// Rows of cancels that the server refuses are written again after a pause, and not at once: it may have no room left.
func TestRefusedCancelsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		failed := make(chan time.Time, 5)
		log := slog.New(logWatch{slog.DiscardHandler, "maintenance failed", failed})
		s, err := session.Open(h.ctx, h.broker, session.Config{Owner: "you", Logger: log})
		check(t, err)
		defer s.Close()
		h.fill(string(h.broker.Cancels()))
		check(t, s.Submit(h.ctx, &session.Order{Template: f}, nil).Cancel(h.ctx))
		first := receive(t, failed)
		for range 4 {
			receive(t, failed)
		}
		if took := time.Since(first); took < time.Second/2 {
			t.Errorf("four more tries after a refusal: got them within %s, want a pause before each", took)
		}
	})
}
