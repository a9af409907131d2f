package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/wait"
)

// The cause of a context's end is the same whether somebody has asked for its channel before or not.
func TestTheCauseOfATimeout(t *testing.T) {
	for _, c := range []struct {
		name  string
		asked func(x *TaskContext)
	}{
		{"nothing", func(*TaskContext) {}},
		{"its error", func(x *TaskContext) { _ = x.Err() }},
		{"its channel", func(x *TaskContext) { x.Done() }},
		{"a value", func(x *TaskContext) { x.Value("none") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newTaskContext(&host{})
				defer x.End()
				x.SetTimeout(time.Now().Add(time.Second))
				c.asked(x)
				if err := context.Cause(x); err != nil {
					t.Errorf("before the timeout: got cause %v, want nil", err)
				}
				_ = wait.Pause(t.Context(), 2*time.Second)
				synctest.Wait()
				if err := context.Cause(x); !errors.Is(err, task.ErrTimeout) {
					t.Errorf("after the timeout: got cause %v, want %v", err, task.ErrTimeout)
				}
				below, cancel := context.WithCancel(x)
				defer cancel()
				if err := context.Cause(below); !errors.Is(err, task.ErrTimeout) {
					t.Errorf("after the timeout, of a context below: got cause %v, want %v", err, task.ErrTimeout)
				}
			})
		})
	}
}
