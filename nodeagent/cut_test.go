package nodeagent_test

import (
	"context"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine/enginetest"
)

// An agent that ran many short tasks has pulled more of the long ones that follow than it can run soon. An agent that joins
// later gets its half of them.
func TestALateNodeGetsItsShare(t *testing.T) {
	enginetest.Bubble(t, func(t *testing.T) {
		const each, tasks = 2 * time.Second, 12
		h := start(t, map[string]float64{"cpu": 1})
		h.define("short", func(context.Context, []byte) ([]byte, error) { return nil, nil })
		h.define("long", func(ctx context.Context, _ []byte) ([]byte, error) {
			select {
			case <-time.After(each):
			case <-ctx.Done():
			}
			return nil, nil
		})
		for n := range uint64(10) {
			h.publish("cpu", "short", numbered(1+1000*n, 1000)...)
		}
		h.next(10_000)
		begun := time.Now()
		for n := range uint64(tasks) {
			h.publish("cpu", "long", numbered(100_000+n, 1)...)
		}
		h.startAgent("n2", map[string]float64{"cpu": 1})
		h.next(tasks)
		if took, limit := time.Since(begun), each*tasks/2+each; took > limit { // of virtual time
			t.Errorf("%d tasks of %s on two nodes took %s, want at most %s", tasks, each, took, limit)
		}
	})
}
