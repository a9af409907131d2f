package nodeagent_test

import (
	"context"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine/registry"
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/queues"
)

// template returns one for calls of a function that takes so many CPUs.
func template(t *testing.T, fn string, cpus float64) *session.Template {
	t.Helper()
	shape, err := task.NewResources(map[string]float64{"cpu": cpus})
	check(t, err)
	return &session.Template{Func: fn, Resources: shape}
}

// oneCPU is the class of what takes one.
func oneCPU(t *testing.T) task.Class {
	t.Helper()
	one := task.Resources{{Name: task.CPU, Value: 1000}}
	class, _, err := task.ClassOf(one, one)
	check(t, err)
	return class
}

// parents defines a function that waits for its turn and submits a child of another class, which goes through the queue.
// It waits for that, or returns a reference to it.
func parents(b *bench, waits bool) (begun, goOn chan struct{}) {
	begun, goOn = make(chan struct{}, 1), make(chan struct{})
	child := template(b.T, "child", 0.5)
	b.define("child", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	check(b.T, b.registry.Add(&registry.Function{Name: "parent", Invoke: func(ctx context.Context, _ *task.Value, dst []byte) (task.Value, error) {
		begun <- struct{}{}
		<-goOn
		s, err := session.From(ctx)
		if err != nil {
			return task.Value{}, err
		}
		h := s.Submit(ctx, &session.Order{Template: child}, nil)
		if waits {
			return task.Value{Data: dst}, h.Wait(ctx)
		}
		session.TaskIn(ctx).SetResultRefs([]*session.Handle{h})
		return task.Value{Data: dst, External: &task.External{Refs: make([]task.Value, 1)}}, nil
	}}))
	return begun, goOn
}

// A batch that is to run alone waits for what runs, and for what that waits for.
func TestAloneBesideParents(t *testing.T) {
	for name, waits := range map[string]bool{"waiting": true, "unsettled": false} {
		t.Run(name, func(t *testing.T) {
			b := start(t, map[string]float64{"cpu": 2})
			begun, goOn := parents(b, waits)
			b.define("poison", func(context.Context, []byte) ([]byte, error) { return nil, nil })
			b.publish(oneCPU(t), "parent", task.Spec{Number: 1})
			<-begun
			b.publish(oneCPU(t), "poison", task.Spec{Number: 2, Dispatch: task.Dispatch{Losses: 3}})
			close(goOn)
			for range 2 {
				if e := <-b.entries; e.State != task.OK {
					t.Errorf("task %d: %s", e.Number, e.State)
				}
			}
		})
	}
}

// A drain waits for results that refer to children, and has those run.
func TestDrainRunsChildren(t *testing.T) {
	for name, waits := range map[string]bool{"waiting": true, "unsettled": false} {
		t.Run(name, func(t *testing.T) {
			b := start(t, map[string]float64{"cpu": 1})
			begun, goOn := parents(b, waits)
			b.publish(oneCPU(t), "parent", task.Spec{Number: 1})
			<-begun
			time.AfterFunc(100*time.Millisecond, func() { close(goOn) }) // while the drain waits
			check(t, b.agent.Drain(b.ctx))
			if e := <-b.entries; e.State != task.OK {
				t.Errorf("%s", e.State)
			}
		})
	}
}

// A stranger's record about a child that waits on the agent is nothing to its session.
func TestAForgedRecordOfAChild(t *testing.T) {
	b := start(t, map[string]float64{"cpu": 1})
	child, other := template(t, "child", 1), template(t, "child", 0.5)
	b.define("child", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	check(t, b.registry.Add(&registry.Function{Name: "parent", Invoke: func(ctx context.Context, _ *task.Value, _ []byte) (task.Value, error) {
		s, err := session.From(ctx)
		if err != nil {
			return task.Value{}, err
		}
		h := s.Submit(ctx, &session.Order{Template: child}, nil)
		var w task.RecordWriter
		w.Add(&task.Entry{Number: 1, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1}})
		log := b.broker.LogHandle(b.broker.Log(s.Owner()))
		if err := log.Append(ctx, queues.Message{Data: w.Append(nil, "stranger", s.Owner())}); err != nil {
			return task.Value{}, err
		}
		if err := s.Submit(ctx, &session.Order{Template: other}, nil).Wait(ctx); err != nil { // what is recorded of it comes behind
			return task.Value{}, err
		}
		return task.Value{}, h.Wait(ctx)
	}}))
	b.publish(oneCPU(t), "parent", task.Spec{Number: 1})
	if e := <-b.entries; e.State != task.OK {
		t.Errorf("%s: %v", e.State, e.Failure)
	}
}
