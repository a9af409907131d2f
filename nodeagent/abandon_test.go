package nodeagent_test

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidemill/tidemill/engine/directory"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// The slot of a task that ignores its timeout is lost until the task returns, and the node's row says so. Meanwhile no other
// task gets the slot.
func TestALostSlotIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, map[string]float64{"cpu": 1})
		returns := make(chan struct{})
		h.define("stubborn", func(context.Context, []byte) ([]byte, error) { <-returns; return nil, nil })
		h.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
		lost := func() int { // as the row says
			nodes, err := h.broker.OpenTable(h.ctx, h.broker.Nodes())
			check(t, err)
			row, err := nodes.Get(h.ctx, "n1")
			check(t, err)
			var n directory.Node
			check(t, json.Unmarshal(row.Value, &n))
			return n.Lost
		}
		h.publish("cpu", "f", numbered(1, 1)...) // announces the class
		h.next(1)
		queue, err := h.broker.OpenQueue(h.ctx, h.broker.Batches("cpu", string(task.Normal)))
		check(t, err)
		batch := &task.Batch{
			Owner: owner, Class: "cpu", Level: task.Normal, Calls: []task.Call{{Func: "stubborn", Timeout: time.Second}},
			Specs: []task.Spec{{Number: 2, Dispatch: task.Dispatch{Attempt: 1}}},
		}
		check(t, queue.Publish(h.ctx, queues.Message{Data: task.AppendBatch(nil, batch)}))
		e := h.next(1)[2]
		if e.State != task.Failed || e.Failure == nil || e.Failure.Kind != task.KindTimeout {
			t.Errorf("got the entry %+v with the failure %+v, want a failure of the kind %q", e, e.Failure, task.KindTimeout)
		}
		passes(10 * time.Second)
		if n := lost(); n != 1 {
			t.Errorf("the node's row says that %d slots are lost, want 1", n)
		}
		h.publish("cpu", "f", numbered(3, 1)...)
		passes(time.Minute)
		if len(h.entries) > 0 {
			t.Errorf("another task has ended while the only slot is lost: got %d entries, want none", len(h.entries))
		}
		close(returns)
		h.next(1)
		passes(10 * time.Second)
		if n := lost(); n != 0 {
			t.Errorf("after the task has returned, the node's row says that %d slots are lost, want 0", n)
		}
	})
}
