package queues

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"
)

// Quiet returns a logger as log that, once done is closed, leaves out the lines whose attribute err only says that the
// program itself has closed a connection, or has cancelled a request: when something is closed while it works, that is no
// reason for a warning.
func Quiet(log *slog.Logger, done <-chan struct{}) *slog.Logger {
	return slog.New(quiet{log.Handler(), done})
}

// quiet is the handler of such a logger.
type quiet struct {
	slog.Handler
	done <-chan struct{}
}

// Handle passes the line on, unless it says what closing explains.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	select {
	case <-q.done:
	default:
		return q.Handler.Handle(ctx, r)
	}
	ours := false
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		ours = ok && a.Key == "err" && ofClosing(err)
		return !ours
	})
	if ours {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

// WithAttrs makes quiet a slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attrs), q.done}
}

// WithGroup makes quiet a slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name), q.done} }

// ofClosing reports whether an error says that the connection was closed, or the request cancelled.
func ofClosing(err error) bool {
	for _, e := range []error{ErrClosed, nats.ErrConnectionClosed, context.Canceled} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
