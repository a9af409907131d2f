package nodeagent

import (
	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// inputs returns what the task needs: its input and its function, nil if this agent does not have it.
// Inputs travel in the batch; references will be fetched here, before the task takes a slot.
func (a *Agent) inputs(b *batch, spec *task.Spec) (task.Value, *session.Function) {
	return spec.Input, a.cfg.Registry.Lookup(b.Calls[spec.Call].Func)
}
