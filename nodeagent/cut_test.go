package nodeagent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// An agent that was alone with many short tasks has asked for more than it can do of the long ones that come next. When
// another joins, that gets its half.
func TestALateNodeGetsItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, tasks = 2 * time.Second, 12
		b := start(t, map[string]float64{"cpu": 1})
		b.define("short", func(context.Context, []byte) ([]byte, error) { return nil, nil })
		b.define("long", func(ctx context.Context, _ []byte) ([]byte, error) {
			select {
			case <-time.After(each):
			case <-ctx.Done():
			}
			return nil, nil
		})
		for n := range uint64(10) {
			b.publish("cpu", "short", numbered(1+1000*n, 1000)...)
		}
		b.next(10_000)
		begun := time.Now()
		for n := range uint64(tasks) {
			b.publish("cpu", "long", numbered(100_000+n, 1)...)
		}
		b.startAgent("n2", map[string]float64{"cpu": 1})
		b.next(tasks)
		if took := time.Since(begun); took > each*tasks/2+each { // of virtual time
			t.Errorf("%d tasks of %s on two nodes took %s", tasks, each, took)
		}
	})
}
