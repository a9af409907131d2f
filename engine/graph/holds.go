package graph

// Holds says who needs which object. It folds what processes say, in one order; an object that nobody holds any
// more is freed. Holders are sets, not counts, so what is said twice changes nothing.
//
// Rules, each of which was found necessary by schedules that free too early or never without it:
//
//  1. The end of a task takes over what its result refers to before it gives up the arguments, in one step.
//  2. What a process keeps beyond a task it says with the task's end, and may use it if that end was the first.
//  3. A submit and a drop of its arguments by one process are in one order.
//  4. Who finds an object in another holds it before it drops that one.
//  5. What a process says that has lost its lease counts for nothing.
//  6. No object refers to itself, directly or through others: such a cycle would hold itself for ever.
//  7. An attempt whose task has ended may submit what refers to freed objects: that is refused, and its result is
//     an object all the same, which may have been passed on.
//  8. While a process waits to hear whether it may keep an object, it does not drop it.
//
// The first, fifth, sixth and seventh are kept here, the others by who tells. The zero value is empty; it is not
// safe for concurrent use.
type Holds[K comparable] struct {
	holders  map[K]map[holder[K]]struct{}
	refers   map[K][]K // to what an object refers
	tasks    map[uint64]holding[K]
	newest   map[uint64]Process // by ID: the newest epoch of a process
	expelled map[Process]bool
}

// Process is who holds objects: a session, in one of its lives.
type Process struct{ ID, Epoch uint64 }

// holder is a process, a task or an object: one of them is set.
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

// holding is what Holds knows of a task without an end.
type holding[K comparable] struct {
	args   []K
	result *K // nil = not known before its end
}

// Needs is what a task that is submitted holds.
type Needs[K comparable] struct {
	Task   uint64
	Args   []K
	Result *K     // what its result will be called; nil = it has no name before its end
	Under  uint64 // the task whose attempt submits it, 0 = none
}

// Leaves is what a task leaves at its end.
type Leaves[K comparable] struct {
	Refers []K // to what its result refers
	Kept   []K // what the process goes on with that ran it
	Failed bool
}

func (h *Holds[K]) process(p Process) holder[K] { return holder[K]{kind: byProcess, process: p} }
func (h *Holds[K]) task(t uint64) holder[K]     { return holder[K]{kind: byTask, task: t} }
func (h *Holds[K]) object(o K) holder[K]        { return holder[K]{kind: byObject, object: o} }

// Held reports whether somebody holds the object.
func (h *Holds[K]) Held(o K) bool { return len(h.holders[o]) > 0 }

// Len returns how many objects are held.
func (h *Holds[K]) Len() int { return len(h.holders) }

// fenced reports whether the process has lost its lease, or lives a newer life.
func (h *Holds[K]) fenced(p Process) bool {
	return h.expelled[p] || p.Epoch < h.newest[p.ID].Epoch
}

// heard notes that a process lives.
func (h *Holds[K]) heard(p Process) {
	if newest, known := h.newest[p.ID]; known && newest.Epoch >= p.Epoch {
		return
	}
	if h.newest == nil {
		h.newest = map[uint64]Process{}
	}
	h.newest[p.ID] = p
}

// Put has the process hold an object that it has made, which refers to others.
func (h *Holds[K]) Put(p Process, o K, refers ...K) {
	if h.fenced(p) {
		return
	}
	h.heard(p)
	h.add(o, h.process(p))
	h.refer(o, refers)
}

// Submit has a task hold its arguments, and the process that submits it the result. It reports false if the
// submit is refused: an argument is gone, since the attempt that submits it is not its task's any more.
func (h *Holds[K]) Submit(p Process, n Needs[K]) bool {
	if h.fenced(p) {
		return false
	}
	h.heard(p)
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

// Done ends a task that the process has run. It reports whether that was its first end, and appends what is
// freed to out.
func (h *Holds[K]) Done(p Process, t uint64, l Leaves[K], out []K) (first bool, freed []K) {
	known, open := h.tasks[t]
	if !open || h.fenced(p) {
		return false, out
	}
	h.heard(p)
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
	h.heard(p)
	h.add(o, h.process(p))
}

// Drop ends the process's holds, and appends what is freed to out.
func (h *Holds[K]) Drop(p Process, out []K, objects ...K) []K {
	if h.fenced(p) {
		return out
	}
	for _, o := range objects {
		out = h.remove(o, h.process(p), out)
	}
	return out
}

// Expire ends all holds of a process that has lost its lease, and appends what is freed to out.
func (h *Holds[K]) Expire(p Process, out []K) []K {
	if h.expelled == nil {
		h.expelled = map[Process]bool{}
	}
	h.expelled[p] = true
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

// refer has an object hold others, but for those through which it would hold itself.
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

// reaches reports whether one object is another, or refers to it, directly or through others.
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

// remove ends one hold. The last one frees the object, and what only that one referred to.
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
