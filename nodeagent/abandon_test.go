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

// A slot whose task ignores that its time is up is lost until the task returns, and the node says so. The
// others go on.
func TestALostSlotIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, map[string]float64{"cpu": 1})
		returns := make(chan struct{})
		b.define("deaf", func(context.Context, []byte) ([]byte, error) { <-returns; return nil, nil })
		b.define("f", func(context.Context, []byte) ([]byte, error) { return nil, nil })
		lost := func() int {
			nodes, err := b.broker.OpenTable(b.ctx, b.broker.Nodes())
			check(t, err)
			row, err := nodes.Get(b.ctx, "n1")
			check(t, err)
			var n directory.Node
			check(t, json.Unmarshal(row.Value, &n))
			return n.Lost
		}
		b.publish("cpu", "f", numbered(1, 1)...) // makes the class known
		b.next(1)
		queue, err := b.broker.OpenQueue(b.ctx, b.broker.Batches("cpu", string(task.Normal)))
		check(t, err)
		batch := &task.Batch{
			Owner: owner, Class: "cpu", Level: task.Normal, Calls: []task.Call{{Func: "deaf", Timeout: time.Second}},
			Specs: []task.Spec{{Number: 2, Dispatch: task.Dispatch{Attempt: 1}}},
		}
		check(t, queue.Publish(b.ctx, queues.Message{Data: task.AppendBatch(nil, batch)}))
		e := b.next(1)[2]
		if e.State != task.Failed || e.Failure == nil || e.Failure.Kind != task.KindTimeout {
			t.Errorf("%+v, %+v", e, e.Failure)
		}
		passes(10 * time.Second)
		if n := lost(); n != 1 {
			t.Errorf("the node says that %d slots are lost", n)
		}
		b.publish("cpu", "f", numbered(3, 1)...)
		passes(time.Minute)
		if len(b.entries) > 0 {
			t.Error("there was a slot for another task")
		}
		close(returns)
		b.next(1)
		passes(10 * time.Second)
		if n := lost(); n != 0 {
			t.Errorf("later the node says that %d slots are lost", n)
		}
	})
}
