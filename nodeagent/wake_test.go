package nodeagent_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// A free slot runs a child even if it became free just when the child was submitted, while its parent does not wait for it.
func TestAFreeSlotRunsAChildOfABusyParent(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 2})
	b.define("child", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	child := template(t, "child", 1)
	b.define("parent", func(ctx context.Context, _ []byte) ([]byte, error) {
		s, err := session.From(ctx)
		if err != nil {
			return nil, err
		}
		for n := range 2_000 {
			h := s.Submit(ctx, &session.Order{Template: child}, nil)
			for until := time.Now().Add(3 * time.Second); !h.Ended(); {
				if time.Now().After(until) {
					return fmt.Appendf(nil, "child %d did not begin", n), nil
				}
			}
		}
		return nil, nil
	})
	b.publish(oneCPU(t), "parent", numbered(1, 1)...)
	e := b.next(1)[1]
	if e.State != task.OK || len(e.Value.Data) > 0 {
		t.Errorf("got %s, %s, %v", e.State, e.Value.Data, e.Failure)
	}
}
