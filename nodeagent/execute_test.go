package nodeagent_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/tidemill/tidemill/engine/task"
)

// Goroutines of slots that have ended wait for others, but not all of those that a peak has made.
func TestAfterAPeak(t *testing.T) {
	const slots, kept = 200, 64
	synctest.Test(t, func(t *testing.T) {
		b := start(t, map[string]float64{"cpu": slots})
		goOn := make(chan struct{})
		b.define("wait", func(context.Context, []byte) ([]byte, error) {
			<-goOn
			return nil, nil
		})
		b.publish(oneCPU(t), "wait", task.Spec{Number: 1})
		synctest.Wait()
		before := runtime.NumGoroutine()
		b.publish(oneCPU(t), "wait", numbered(2, slots-1)...)
		synctest.Wait()
		if n := runtime.NumGoroutine(); n < before+slots-1 {
			t.Fatalf("%d goroutines, where %d tasks wait and there were %d before", n, slots-1, before)
		}
		close(goOn)
		for range slots {
			if e := <-b.entries; e.State != task.OK {
				t.Errorf("%s: %v", e.State, e.Failure)
			}
		}
		synctest.Wait()
		if n := runtime.NumGoroutine(); n > before+kept {
			t.Errorf("%d goroutines, and there were %d before", n, before)
		}
	})
}
