package graph

// A task whose input refers to results of other tasks is parked until all of them are there. Cycles cannot
// be: a task's input refers to tasks that were submitted before it.

// await notes which open tasks the task waits for, and returns how many those are.
func (g *Graph) await(number uint64, deps []uint64) (missing int32) {
	for _, dep := range deps {
		if g.tasks.Get(dep) == nil {
			continue // it has its outcome
		}
		if g.waits == nil {
			g.waits = map[uint64][]uint64{}
		}
		g.waits[dep] = append(g.waits[dep], number)
		missing++
	}
	return missing
}

// settle goes on with the tasks that waited for one that has its outcome: they are dispatched when nothing
// else is missing, or fail if it has failed.
func (g *Graph) settle(number uint64, ok bool, out []Command) []Command {
	waiting := g.waits[number]
	if waiting == nil {
		return out
	}
	delete(g.waits, number)
	if !ok {
		return g.failAll(number, waiting, out)
	}
	for _, w := range waiting {
		n := g.tasks.Get(w)
		if n == nil {
			continue // it was ended meanwhile
		}
		if n.missing--; n.missing == 0 && n.state == parked {
			out = n.ready(w, out)
		}
	}
	return out
}

// failAll asks for the end of all tasks that wait for a failed one, directly or through others: none of them
// can have a result any more, so that a long chain fails at once. Causes come before what they cause.
func (g *Graph) failAll(cause uint64, waiting []uint64, out []Command) []Command {
	from := len(out)
	out = g.failSome(cause, waiting, out)
	for ; from < len(out); from++ {
		failed := out[from].Task
		out = g.failSome(failed, g.waits[failed], out)
	}
	return out
}

func (g *Graph) failSome(cause uint64, waiting []uint64, out []Command) []Command {
	for _, w := range waiting {
		if n := g.tasks.Get(w); n != nil && n.state != ending {
			out = n.end(w, DependencyFailed, out)
			out[len(out)-1].Cause = cause
		}
	}
	return out
}
