package graph

// Holds says which objects are still needed. It folds what processes report, in one order; an object that nobody holds any
// more is freed. Holders are sets, not counts, so a report that is repeated changes nothing.
//
// The rules. If any one of them is broken, there are schedules that free an object too early or never (see
// TestHoldsModelCanFail):
//
//  1. The end of a task first lets the result hold what it refers to, and then releases the arguments, in one step.
//  2. What a process keeps beyond a task it reports with the end of the task, and may use only if that end was the first.
//  3. A submit, and a drop of its arguments by the same process, are folded in the order in which they were made.
//  4. A process that finds an object in another one holds it before it drops that other one.
//  5. Reports of a process that has lost its lease do not count.
//  6. No object refers to itself, directly or through others: such a cycle would hold itself for ever.
//  7. An attempt whose task has ended may submit a task that refers to freed objects. The submit is refused, but its result
//     counts as an object, since a reference to it may have been passed on.
//  8. A process that does not know yet whether it may keep an object does not drop it.
//
// Rules 1, 5, 6 and 7 are enforced here, the others by the processes.
//
// Today a session runs Holds for itself, and needs only Hold, Drop, Submit, Done and Held. References between objects,
// objects kept beyond a task, and leases of processes are for processes that share objects; so far only the model in the
// tests has such (docs/decisions, 16).
//
// The zero value is empty; it is not safe for concurrent use.
type Holds[K comparable] struct {
	holders map[K]map[holder[K]]struct{} // by object; no entry is empty
	refers  map[K][]K                    // the objects to which an object refers
	tasks   map[uint64]holding[K]        // without an end
	newest  map[uint64]Process           // by ID: the process in its newest epoch
	expired map[Process]bool
}

// Process is a holder of objects. One that has lost its lease comes back with the same ID and a higher epoch.
type Process struct{ ID, Epoch uint64 }

// holder is a process, a task or an object, as kind says; only that field is set.
type holder[K comparable] struct {
	process Process
	task    uint64
	object  K
	kind    byte
}

const (
	byProcess = iota + 1
	byTask
	byObject
)

// holding is a task without an end.
type holding[K comparable] struct {
	args   []K
	result *K // nil = it has no name before the end
}

// Needs is what a submitted task holds.
type Needs[K comparable] struct {
	Task   uint64
	Args   []K
	Result *K     // the name of its result; nil = it has none before its end
	Under  uint64 // the task whose attempt submits it; 0 = none
}

// Leaves is what a task leaves at its end.
type Leaves[K comparable] struct {
	Refers []K // the objects to which its result refers
	Kept   []K // the objects that the process keeps that ran it
	Failed bool
}

func (h *Holds[K]) process(p Process) holder[K] { return holder[K]{kind: byProcess, process: p} }
func (h *Holds[K]) task(t uint64) holder[K]     { return holder[K]{kind: byTask, task: t} }
func (h *Holds[K]) object(o K) holder[K]        { return holder[K]{kind: byObject, object: o} }

// Held reports whether somebody holds the object.
func (h *Holds[K]) Held(o K) bool { return len(h.holders[o]) > 0 }

// Len returns how many objects are held.
func (h *Holds[K]) Len() int { return len(h.holders) }

// fenced reports whether the process has lost its lease, or is known with a higher epoch.
func (h *Holds[K]) fenced(p Process) bool {
	return h.expired[p] || p.Epoch < h.newest[p.ID].Epoch
}

// seen records the epoch of a process.
func (h *Holds[K]) seen(p Process) {
	if newest, known := h.newest[p.ID]; known && newest.Epoch >= p.Epoch {
		return
	}
	if h.newest == nil {
		h.newest = map[uint64]Process{}
	}
	h.newest[p.ID] = p
}

// Put has the process hold an object that it has made and that refers to others.
func (h *Holds[K]) Put(p Process, o K, refers ...K) {
	if h.fenced(p) {
		return
	}
	h.seen(p)
	h.add(o, h.process(p))
	h.refer(o, refers)
}

// Submit has a task hold its arguments, and the process that submits it hold the result. It reports false if the submit is
// refused: the process is fenced, or the task that submits has ended and an argument was freed.
func (h *Holds[K]) Submit(p Process, n Needs[K]) bool {
	if h.fenced(p) {
		return false
	}
	h.seen(p)
	if n.Result != nil {
		h.add(*n.Result, h.process(p))
	}
	if _, open := h.tasks[n.Under]; n.Under != 0 && !open {
		for _, a := range n.Args {
			if !h.Held(a) {
				return false
			}
		}
	}
	for _, a := range n.Args {
		h.add(a, h.task(n.Task))
	}
	if h.tasks == nil {
		h.tasks = map[uint64]holding[K]{}
	}
	h.tasks[n.Task] = holding[K]{n.Args, n.Result}
	return true
}

// Done ends a task that the process has run. It reports whether that was the first end of the task, and appends the objects
// that are freed to out.
func (h *Holds[K]) Done(p Process, t uint64, l Leaves[K], out []K) (first bool, freed []K) {
	known, open := h.tasks[t]
	if !open || h.fenced(p) {
		return false, out
	}
	h.seen(p)
	delete(h.tasks, t)
	if !l.Failed {
		if known.result != nil && h.Held(*known.result) {
			h.refer(*known.result, l.Refers)
		}
		for _, k := range l.Kept {
			h.add(k, h.process(p))
		}
	}
	for _, a := range known.args {
		out = h.remove(a, h.task(t), out)
	}
	return true, out
}

// Hold has the process hold an object that it has found in another one.
func (h *Holds[K]) Hold(p Process, o K) {
	if h.fenced(p) {
		return
	}
	h.seen(p)
	h.add(o, h.process(p))
}

// Drop ends the process's holds of these objects, and appends those that are freed to out.
func (h *Holds[K]) Drop(p Process, out []K, objects ...K) []K {
	if h.fenced(p) {
		return out
	}
	for _, o := range objects {
		out = h.remove(o, h.process(p), out)
	}
	return out
}

// Expire ends all holds of a process that has lost its lease, and appends the objects that are freed to out.
func (h *Holds[K]) Expire(p Process, out []K) []K {
	if h.expired == nil {
		h.expired = map[Process]bool{}
	}
	h.expired[p] = true
	var held []K
	for o, holders := range h.holders {
		if _, ok := holders[h.process(p)]; ok {
			held = append(held, o)
		}
	}
	for _, o := range held {
		out = h.remove(o, h.process(p), out)
	}
	return out
}

// refer has an object hold others, except those through which it would hold itself.
func (h *Holds[K]) refer(o K, to []K) {
	for _, c := range to {
		if !h.reaches(c, o) {
			h.link(o, c)
		}
	}
}

func (h *Holds[K]) link(o, to K) {
	h.add(to, h.object(o))
	if h.refers == nil {
		h.refers = map[K][]K{}
	}
	h.refers[o] = append(h.refers[o], to)
}

// reaches reports whether from and to are the same object, or from refers to to, directly or through others.
func (h *Holds[K]) reaches(from, to K) bool {
	if from == to {
		return true
	}
	for _, c := range h.refers[from] {
		if h.reaches(c, to) {
			return true
		}
	}
	return false
}

func (h *Holds[K]) add(o K, by holder[K]) {
	if h.holders == nil {
		h.holders = map[K]map[holder[K]]struct{}{}
	}
	if h.holders[o] == nil {
		h.holders[o] = map[holder[K]]struct{}{}
	}
	h.holders[o][by] = struct{}{}
}

// remove ends one hold. If it was the last one, the object is freed, and with it what only this object referred to.
func (h *Holds[K]) remove(o K, by holder[K], out []K) []K {
	holders := h.holders[o]
	if _, holds := holders[by]; !holds {
		return out
	}
	delete(holders, by)
	if len(holders) > 0 {
		return out
	}
	delete(h.holders, o)
	out = append(out, o)
	refers := h.refers[o]
	delete(h.refers, o)
	for _, c := range refers {
		out = h.remove(c, h.object(o), out)
	}
	return out
}
