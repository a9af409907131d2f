package nodeagent

import (
	"fmt"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// errRefused says that this agent cannot run the task, and another one might.
var errRefused = fmt.Errorf("nodeagent: refused")

// inputs returns what the task needs: its function and its input. Inputs travel in the batch; references
// will be fetched here, before the task takes a slot.
func (a *Agent) inputs(b *batch, spec *task.Spec) (task.Value, *session.Function, error) {
	fn := a.cfg.Registry.Lookup(b.Calls[spec.Call].Func)
	if fn == nil {
		return task.Value{}, nil, errRefused
	}
	return spec.Input, fn, nil
}
