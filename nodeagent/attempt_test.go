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

// A goroutine that outlives its attempt at a child is told what it is a part of, not what runs now.
func TestAttemptThatIsOver(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 2})
	child := template(t, "child", 1)
	child.Retries = 1
	second, first := make(chan struct{}), make(chan int)
	b.define("child", func(ctx context.Context, _ []byte) ([]byte, error) {
		if engine.Attempt(ctx) == 1 {
			go func() {
				<-second
				first <- engine.Attempt(ctx)
			}()
			return nil, errors.New("once")
		}
		close(second)
		if n := <-first; n != 1 {
			t.Errorf("the first attempt's context says attempt %d", n)
		}
		return nil, nil
	})
	check(t, b.registry.Add(&registry.Function{Name: "parent", Invoke: func(ctx context.Context, _ *task.Value, _ []byte) (task.Value, error) {
		s, err := session.From(ctx)
		if err != nil {
			return task.Value{}, err
		}
		return task.Value{}, s.Submit(ctx, &session.Order{Template: child}, nil).Wait(ctx)
	}}))
	b.publish(oneCPU(t), "parent", task.Spec{Number: 1})
	if e := <-b.entries; e.State != task.OK {
		t.Errorf("%s: %v", e.State, e.Failure)
	}
}
