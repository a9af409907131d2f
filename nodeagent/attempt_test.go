package nodeagent_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tidemill/tidemill/engine"
	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// A goroutine that outlives an attempt of a child still sees this attempt in its context, not the one that runs now.
func TestTheContextOfAFormerAttempt(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 2})
	child := template(t, "child", 1)
	child.Retries = 1
	second, first := make(chan struct{}), make(chan int)
	h.define("child", func(ctx context.Context, _ []byte) ([]byte, error) {
		if engine.Attempt(ctx) == 1 {
			go func() {
				<-second
				first <- engine.Attempt(ctx)
			}()
			return nil, errors.New("once")
		}
		close(second)
		if n := <-first; n != 1 {
			t.Errorf("the context of attempt 1 says attempt %d during attempt 2, want 1", n)
		}
		return nil, nil
	})
	check(t, h.registry.Add(&registry.Function{Name: "parent", Invoke: func(ctx context.Context, _ *task.Value, _ []byte) (task.Value, error) {
		s, err := session.From(ctx)
		if err != nil {
			return task.Value{}, err
		}
		return task.Value{}, s.Submit(ctx, &session.Order{Template: child}, nil).Wait(ctx)
	}}))
	h.publish(oneCPU(t), "parent", task.Spec{Number: 1})
	h.expectOK(1)
}
