package graph

// A task whose input refers to results of other tasks is parked until all of them are there. There are no cycles: the input
// of a task refers only to tasks that were submitted before it.

// awaitDeps registers the task with each of its dependencies that is open, and returns how many those are.
func (g *Graph) awaitDeps(number uint64, deps []uint64) (missing int32) {
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

// resolveDeps is called when a task has its outcome. Tasks whose input refers to its result are dispatched if that was the
// last result missing, or end if the task has failed.
func (g *Graph) resolveDeps(number uint64, ok bool, out []Command) []Command {
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
			continue // it has ended meanwhile
		}
		if n.missing--; n.missing == 0 && n.state == parked {
			out = n.ready(w, out)
		}
	}
	return out
}

// failAll ends all tasks that wait for a failed one, directly or through others: none of them can have a result any more, and
// a long chain fails at once. The command for a cause comes before those for the tasks that it ends.
func (g *Graph) failAll(cause uint64, waiting []uint64, out []Command) []Command {
	from := len(out)
	out = g.failSome(cause, waiting, out)
	for ; from < len(out); from++ {
		failed := out[from].Task
		out = g.failSome(failed, g.waits[failed], out)
	}
	return out
}

// failSome ends the tasks that wait for one failed task directly.
func (g *Graph) failSome(cause uint64, waiting []uint64, out []Command) []Command {
	for _, w := range waiting {
		if n := g.tasks.Get(w); n != nil && n.state != ending {
			out = n.end(w, DependencyFailed, out)
			out[len(out)-1].Cause = cause
		}
	}
	return out
}
