package engine

import (
	"context"
	"log/slog"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// NodeID returns the ID of the node that runs the task of ctx, "" if ctx is not the context of a task.
func NodeID(ctx context.Context) string {
	if tc := session.TaskIn(ctx); tc != nil {
		return tc.Node
	}
	return ""
}

// TaskID returns the ID of the task of ctx, which is the same for all attempts; the zero ID if ctx is not the context of
// a task.
func TaskID(ctx context.Context) task.ID {
	if tc := session.TaskIn(ctx); tc != nil {
		return tc.ID()
	}
	return task.ID{}
}

// Attempt returns the number of the current attempt of the task of ctx, 1 for the first; 0 if ctx is not the context of a
// task.
func Attempt(ctx context.Context) int {
	if tc := session.TaskIn(ctx); tc != nil {
		return int(tc.Spec.Attempt)
	}
	return 0
}

// Logger returns a logger that adds the function, task, attempt and node to each line; slog.Default() if ctx is not the
// context of a task.
func Logger(ctx context.Context) *slog.Logger {
	if tc := session.TaskIn(ctx); tc != nil {
		return tc.Logger()
	}
	return slog.Default()
}
