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

// The next batch is there before the one that is run has ended, however many tasks a batch has.
func TestBatchesFollowEachOther(t *testing.T) {
	const batches, tasks, each = 8, 200, 100 * time.Microsecond
	synctest.Test(t, func(t *testing.T) {
		b := start(t, map[string]float64{"cpu": 1})
		conn, err := nats.Connect("", nats.InProcessServer(b.server))
		check(t, err)
		t.Cleanup(conn.Close)
		js, err := jetstream.New(conn)
		check(t, err)
		began := 0
		b.define("f", func(ctx context.Context, _ []byte) ([]byte, error) {
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
				t.Errorf("batch %d ends, and no other one is here", began/tasks)
			}
			return nil, nil
		})
		for n := range uint64(batches) {
			b.publish("cpu", "f", numbered(1+tasks*n, tasks)...)
		}
		for number, e := range b.next(batches * tasks) {
			if e.State != task.OK {
				t.Errorf("task %d: %s", number, e.State)
			}
		}
	})
}
