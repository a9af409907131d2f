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

// template returns a template for calls of a function that needs so many CPUs.
func template(t *testing.T, fn string, cpus float64) *session.Template {
	t.Helper()
	shape, err := task.NewResources(map[string]float64{"cpu": cpus})
	check(t, err)
	return &session.Template{Func: fn, Resources: shape}
}

// oneCPU returns the class of tasks that need one CPU.
func oneCPU(t *testing.T) task.Class {
	t.Helper()
	one := task.Resources{{Name: task.CPU, Value: 1000}}
	class, _, err := task.ClassOf(one, one)
	check(t, err)
	return class
}

// parents defines the function "parent", which sends to begun, receives from goOn and submits a child of another class,
// which goes through the queue. It waits for the child, or returns a reference to it.
func parents(h *harness, waits bool) (begun, goOn chan struct{}) {
	begun, goOn = make(chan struct{}, 1), make(chan struct{})
	child := template(h.T, "child", 0.5)
	h.define("child", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	check(h.T, h.registry.Add(&registry.Function{Name: "parent", Invoke: func(ctx context.Context, _ *task.Value, dst []byte) (task.Value, error) {
		begun <- struct{}{}
		<-goOn
		s, err := session.From(ctx)
		if err != nil {
			return task.Value{}, err
		}
		handle := s.Submit(ctx, &session.Order{Template: child}, nil)
		if waits {
			return task.Value{Data: dst}, handle.Wait(ctx)
		}
		session.TaskIn(ctx).SetResultRefs([]*session.Handle{handle})
		return task.Value{Data: dst, External: &task.External{Refs: make([]task.Value, 1)}}, nil
	}}))
	return begun, goOn
}

// A batch that must run alone waits for the tasks that run, and for the children that these wait for.
func TestAloneBesideParents(t *testing.T) {
	for name, waits := range map[string]bool{"waits for its child": true, "returns a reference": false} {
		t.Run(name, func(t *testing.T) {
			h := start(t, map[string]float64{"cpu": 2})
			begun, goOn := parents(h, waits)
			h.define("poison", func(context.Context, []byte) ([]byte, error) { return nil, nil })
			h.publish(oneCPU(t), "parent", task.Spec{Number: 1})
			receive(t, begun)
			h.publish(oneCPU(t), "poison", task.Spec{Number: 2, Dispatch: task.Dispatch{Losses: 3}})
			close(goOn)
			for number, e := range h.next(2) {
				if e.State != task.OK {
					t.Errorf("task %d: got %s with the failure %v, want %s", number, e.State, e.Failure, task.OK)
				}
			}
		})
	}
}

// Drain waits for results that refer to children, and the agent runs these children meanwhile.
func TestDrainRunsChildren(t *testing.T) {
	for name, waits := range map[string]bool{"waits for its child": true, "returns a reference": false} {
		t.Run(name, func(t *testing.T) {
			h := start(t, map[string]float64{"cpu": 1})
			begun, goOn := parents(h, waits)
			h.publish(oneCPU(t), "parent", task.Spec{Number: 1})
			receive(t, begun)
			time.AfterFunc(100*time.Millisecond, func() { close(goOn) }) // while the drain waits
			check(t, h.agent.Drain(h.ctx))
			h.expectOK(1)
		})
	}
}

// A record of another node about a child that waits on this agent has no effect on its session.
func TestAForgedRecordOfAChild(t *testing.T) {
	h := start(t, map[string]float64{"cpu": 1})
	child, other := template(t, "child", 1), template(t, "child", 0.5)
	h.define("child", func(context.Context, []byte) ([]byte, error) { return nil, nil })
	check(t, h.registry.Add(&registry.Function{Name: "parent", Invoke: func(ctx context.Context, _ *task.Value, _ []byte) (task.Value, error) {
		s, err := session.From(ctx)
		if err != nil {
			return task.Value{}, err
		}
		handle := s.Submit(ctx, &session.Order{Template: child}, nil)
		var w task.RecordWriter
		w.Add(&task.Entry{Number: 1, State: task.Lost, Dispatch: task.Dispatch{Attempt: 1}})
		log := h.broker.LogHandle(h.broker.Log(s.Owner()))
		if err := log.Append(ctx, queues.Message{Data: w.Append(nil, "stranger", s.Owner())}); err != nil {
			return task.Value{}, err
		}
		if err := s.Submit(ctx, &session.Order{Template: other}, nil).Wait(ctx); err != nil { // its record comes after the forged one
			return task.Value{}, err
		}
		return task.Value{}, handle.Wait(ctx)
	}}))
	h.publish(oneCPU(t), "parent", task.Spec{Number: 1})
	h.expectOK(1)
}
