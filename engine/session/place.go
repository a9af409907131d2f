package session

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/suggest"
)

// route is where tasks of a template go, as decided by one session for one state of the view of the nodes.
type route struct {
	session  *Session
	template *Template
	call     task.Call
	lane     *lane
	cost     *cost
	local    bool   // for tasks of tasks: an agent that runs one of the class may run it
	keeps    bool   // a task keeps some of it while it waits: what is no CPU
	changes  uint64 // of the view of the nodes
}

// routeLocked returns the template's route. A function that no agent has and a shape that no node has room for
// are failures, if agents live; where none lives, tasks of this program's own functions wait.
func (s *Session) routeLocked(t *Template, child bool) (*route, error) {
	known, level := &t.route, cmp.Or(t.Level, task.Normal)
	if child {
		known, level = &t.nested, task.Child
	}
	changes := s.nodes.Changes()
	if r := known.Load(); r != nil && r.session == s && r.changes == changes {
		return r, nil
	}
	if err := s.knowsFunc(t.Func); err != nil {
		return nil, err
	}
	class, shape, err := s.feasible(t)
	if err != nil {
		return nil, err
	}
	r := &route{
		session: s, template: t, call: task.Call{Func: t.Func, Retries: t.Retries, Timeout: t.Timeout},
		lane: s.outbox.lane(laneKey{class, level}, shape), cost: s.outbox.cost(t.Func), changes: changes,
		local: child && t.Delay == 0 && s.cfg.Registry.Lookup(t.Func) != nil,
	}
	_, kept := shape.Split()
	r.keeps = len(kept) > 0
	known.Store(r)
	return r, nil
}

// knowsFunc returns a failure if the function can run nowhere.
func (s *Session) knowsFunc(fn string) error {
	if s.cfg.LocalAgent && s.cfg.Registry.Lookup(fn) != nil {
		return nil // the agent in this process looks into the same registry
	}
	alive := s.nodes.Count() > 0
	if s.nodes.Has(fn) || !alive && s.cfg.Registry != nil && s.cfg.Registry.Lookup(fn) != nil {
		return nil
	}
	there := s.nodes.Funcs()
	if s.cfg.LocalAgent {
		there, _ = s.cfg.Registry.Names()
	}
	return &task.Failure{
		Kind: task.KindUnknownFunc, Func: fn,
		Message: fmt.Sprintf("no agent has a function %q: %s", fn, suggest.Name(fn, there)),
	}
}

// feasible returns the class of the template's shape, or a failure that says what there is.
func (s *Session) feasible(t *Template) (task.Class, task.Resources, error) {
	shape := t.Resources.Understood()
	largest, fits := s.nodes.Fitting(shape)
	if !fits && s.nodes.Count() > 0 {
		return "", nil, s.infeasible(t.Func, shape)
	}
	class, rounded, err := task.ClassOf(shape, largest.Resources)
	if err != nil {
		return "", nil, &task.Failure{Kind: task.KindInfeasible, Func: t.Func, Message: err.Error()}
	}
	return class, rounded, nil
}

func (s *Session) infeasible(fn string, shape task.Resources) error {
	var there, names []string
	for _, node := range s.nodes.All() {
		there = append(there, fmt.Sprintf("%s has %s", node.ID, node.Resources))
		for _, a := range node.Resources {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	var message strings.Builder
	fmt.Fprintf(&message, "it needs %s, and no node has that: %s", shape, strings.Join(there, "; "))
	for _, a := range shape {
		if !slices.Contains(names, a.Name) {
			fmt.Fprintf(&message, " (no node has any %q: %s)", a.Name, suggest.Name(a.Name, names))
		}
	}
	return &task.Failure{Kind: task.KindInfeasible, Func: fn, Message: message.String()}
}
