package nodeagent_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidemill/tidemill/engine/task"
)

// Goroutines of slots that have ended are kept for the next slots, but at most 64 of them after a peak.
func TestGoroutinesAfterAPeak(t *testing.T) {
	const slots, kept = 200, 64
	synctest.Test(t, func(t *testing.T) {
		h := start(t, map[string]float64{"cpu": slots})
		goOn := make(chan struct{})
		h.define("wait", func(context.Context, []byte) ([]byte, error) {
			<-goOn
			return nil, nil
		})
		h.publish(oneCPU(t), "wait", task.Spec{Number: 1})
		synctest.Wait()
		before := runtime.NumGoroutine()
		h.publish(oneCPU(t), "wait", numbered(2, slots-1)...)
		synctest.Wait()
		if n := runtime.NumGoroutine(); n < before+slots-1 {
			t.Fatalf("%d goroutines while %d more tasks run, want at least %d", n, slots-1, before+slots-1)
		}
		close(goOn)
		for number, e := range h.next(slots) {
			if e.State != task.OK {
				t.Errorf("task %d: got %s with the failure %v, want %s", number, e.State, e.Failure, task.OK)
			}
		}
		synctest.Wait()
		if n := runtime.NumGoroutine(); n > before+kept {
			t.Errorf("%d goroutines after the peak, want at most %d more than the %d before it", n, kept, before)
		}
	})
}

// An agent has the next batch before the last task of the present one ends, however many tasks a batch has.
func TestTheNextBatchIsPulledInTime(t *testing.T) {
	const batches, tasks, each = 8, 200, 100 * time.Microsecond
	synctest.Test(t, func(t *testing.T) {
		h := start(t, map[string]float64{"cpu": 1})
		conn, err := nats.Connect("", nats.InProcessServer(h.server))
		check(t, err)
		t.Cleanup(conn.Close)
		js, err := jetstream.New(conn)
		check(t, err)
		began := 0
		h.define("f", func(ctx context.Context, _ []byte) ([]byte, error) {
			select {
			case <-time.After(each):
			case <-ctx.Done():
			}
			began++
			if began%tasks != 0 || began <= 2*tasks || began == batches*tasks { // run times are known from the second batch on
				return nil, nil
			}
			consumer, err := js.Consumer(ctx, "tm_b1_cpu", string(task.Normal))
			if err != nil {
				return nil, err
			}
			if info := consumer.CachedInfo(); info.NumAckPending < 2 {
				t.Errorf("at the end of batch %d, %d batches are not acked, want at least 2", began/tasks, info.NumAckPending)
			}
			return nil, nil
		})
		for n := range uint64(batches) {
			h.publish("cpu", "f", numbered(1+tasks*n, tasks)...)
		}
		for number, e := range h.next(batches * tasks) {
			if e.State != task.OK {
				t.Errorf("task %d: got %s, want %s", number, e.State, task.OK)
			}
		}
	})
}
