package nodeagent

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/queues"
)

// batch is a batch of tasks that this agent has leased.
type batch struct {
	task.Batch
	class    *class
	level    *level
	delivery *queues.Delivery
	arrived  time.Duration          // since the agent began
	own      bool                   // its owner is this agent's own session; set before it is accepted
	noted    bool                   // a start is recorded of each of its tasks; set before it is accepted
	fetched  map[uint64]*task.Value // inputs whose bytes are at hand now, by task; set before it is accepted
	pins     values.Pins            // of them
	foreign  atomic.Bool            // the stream has another message under its sequence: it is not to be acked
	low      atomic.Int64           // index of the spec at whose start the class is to pull more
	next     atomic.Int64           // index of the next spec to start
	left     atomic.Int64           // specs that are not recorded
}

// decode reads the batch, and refuses what cannot have come from a session: an owner without a log, a
// function without a name, another class than the queue's.
func (b *batch) decode() error {
	if err := task.DecodeBatch(b.delivery.Data, &b.Batch); err != nil {
		return err
	}
	if b.Class != b.class.name {
		return fmt.Errorf("nodeagent: a batch of class %q in a queue of class %q", b.Class, b.class.name)
	}
	for i := range b.Calls {
		if err := task.CheckName("function", b.Calls[i].Func); err != nil {
			return err
		}
	}
	b.Owner = strings.Clone(b.Owner) // it is part of the ID that functions see, and may outlive the batch
	b.left.Store(int64(len(b.Specs)))
	return task.CheckOwner(b.Owner)
}

// start takes a spec of the batch to run, nil if all were taken. Slots share a batch by this counter
// alone, so that each gets as much as it can do. To one of them it says that the batch is low, and more is to be pulled.
func (b *batch) start() (spec *task.Spec, low bool) {
	if i := b.next.Add(1) - 1; i < int64(len(b.Specs)) {
		return &b.Specs[i], i == b.low.Load()
	}
	return nil, false
}

// rest takes all specs that were not started.
func (b *batch) rest() (specs []*task.Spec) {
	for spec, _ := b.start(); spec != nil; spec, _ = b.start() {
		specs = append(specs, spec)
	}
	return specs
}

// unstarted returns how many specs were not started.
func (b *batch) unstarted() int { return max(0, len(b.Specs)-int(b.next.Load())) }

// losses returns the greatest number of agents that were lost with a task of the batch.
func (b *batch) losses() (most int32) {
	for i := range b.Specs {
		most = max(most, b.Specs[i].Losses)
	}
	return most
}

// alone reports whether nothing may run beside the batch: it may kill its agent.
func (b *batch) alone() bool { return b.losses() >= graph.Alone }

// hasExternal reports whether bytes of the batch's inputs are to be fetched.
func (b *batch) hasExternal() bool {
	for i := range b.Specs {
		if !b.Specs[i].Input.IsInline() {
			return true
		}
	}
	return false
}
