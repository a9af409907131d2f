package engine

import (
	"context"
	"log/slog"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// NodeID returns the node on which the task of this context runs, "" outside of tasks.
func NodeID(ctx context.Context) string {
	if r := session.TaskIn(ctx); r != nil {
		return r.Node
	}
	return ""
}

// TaskID returns the ID of the task of this context, the same for all its attempts; the zero ID outside of
// tasks.
func TaskID(ctx context.Context) task.ID {
	if r := session.TaskIn(ctx); r != nil {
		return r.ID()
	}
	return task.ID{}
}

// Attempt returns which attempt of its task this is, 1 for the first; 0 outside of tasks.
func Attempt(ctx context.Context) int {
	if r := session.TaskIn(ctx); r != nil {
		return int(r.Spec.Attempt)
	}
	return 0
}

// Logger returns a logger whose lines carry function, task, attempt and node; the program's default one
// outside of tasks.
func Logger(ctx context.Context) *slog.Logger {
	if r := session.TaskIn(ctx); r != nil {
		return r.Logger()
	}
	return slog.Default()
}
