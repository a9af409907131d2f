package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// rule is the rule of Holds that a schedule breaks, by its number there; 0 = none.
type rule int

// A model of processes around Holds. They put objects, submit tasks with arguments that they hold or that a running attempt
// has, run tasks that are delivered any number of times, keep arguments, find objects in others, drop, lose their leases
// and go on without noticing. No process ever uses a freed object, and at the end no object is held.
func TestHoldsModel(t *testing.T) {
	runs, first := uint64(4000), rand.Uint64()>>1
	if *Seed != 0 {
		runs, first = 1, *Seed
	}
	for seed := first; seed < first+runs; seed++ {
		if fault := newHoldsWorld(seed, 0).play(); fault != "" {
			t.Fatalf("seed %d: got fault %q, want none\nTo repeat it: go test ./engine/graph -run '^TestHoldsModel$' -v -seed=%d", seed, fault, seed)
		}
	}
}

// The model finds a fault for each rule that is broken.
func TestHoldsModelCanFail(t *testing.T) {
	for broken := rule(1); broken <= 8; broken++ {
		const most = 20_000
		fault, seed := "", uint64(0)
		for ; fault == "" && seed < most; seed++ {
			fault = newHoldsWorld(seed, broken).play()
		}
		if fault == "" {
			t.Errorf("rule %d broken: got no fault in %d schedules, want one", broken, most)
		}
		t.Logf("rule %d broken: after %d schedules: %s", broken, seed, fault)
	}
}

// report is what a process tells Holds. It counts when it is folded, which may be later.
type report struct {
	p       Process
	what    string // the method of Holds, in lower case
	object  int    // that is put or held; the result of a submit
	objects []int  // arguments, drops, or the objects to which an object or a result refers
	kept    []int  // arguments that the process keeps beyond the task
	task    uint64
	under   uint64 // the task whose attempt submits; 0 = none
	failed  bool
}

// holdsTask is a task as the world knows it.
type holdsTask struct {
	args   []int
	result int
	queued bool // its submit was folded
	done   bool // its end was folded, or its submit refused
}

// holdsProcess is one process as it knows itself.
type holdsProcess struct {
	Process
	alive, expired bool
	holds          map[int]bool
	borrowed       map[uint64][]int // by running task: its arguments
	pending        []report         // not folded yet
	undecided      map[int]int      // by object: how many pending reports ask to keep it
}

// holdsWorld is the processes, their tasks and a Holds.
type holdsWorld struct {
	rng    *rand.Rand
	broken rule
	holds  Holds[int]
	procs  []*holdsProcess
	tasks  map[uint64]*holdsTask
	freed  map[int]bool
	refers map[int][]int
	next   int
	fault  string // the first one
}

func newHoldsWorld(seed uint64, broken rule) *holdsWorld {
	w := &holdsWorld{
		rng: rand.New(rand.NewPCG(seed, 9)), broken: broken, tasks: map[uint64]*holdsTask{}, freed: map[int]bool{}, refers: map[int][]int{},
	}
	for i := range uint64(3) {
		w.procs = append(w.procs, newHoldsProcess(Process{i + 1, 1}))
	}
	return w
}

func newHoldsProcess(p Process) *holdsProcess {
	return &holdsProcess{Process: p, alive: true, holds: map[int]bool{}, borrowed: map[uint64][]int{}, undecided: map[int]int{}}
}

func (w *holdsWorld) play() string {
	for step := 0; step < 300 && w.fault == ""; step++ {
		w.step()
	}
	if w.fault == "" {
		w.end()
	}
	return w.fault
}

func (w *holdsWorld) fail(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

// use checks that an object was not freed if the process may use it.
func (w *holdsWorld) use(p *holdsProcess, o int) {
	if p.alive && !p.expired && w.freed[o] {
		w.fail("process %d uses object %d, which was freed", p.ID, o)
	}
}

func (w *holdsWorld) free(objects []int) {
	for _, o := range objects {
		w.freed[o] = true
	}
}

// send has the process report something; it is folded later.
func (w *holdsWorld) send(p *holdsProcess, r report) {
	r.p = p.Process
	p.pending = append(p.pending, r)
}

// pick returns one of the objects, none if there are none.
func (w *holdsWorld) pick(from []int) []int {
	if len(from) == 0 {
		return nil
	}
	return []int{from[w.rng.IntN(len(from))]}
}

func heldBy(p *holdsProcess) (held []int) {
	for o := range p.holds {
		held = append(held, o)
	}
	slices.Sort(held)
	return held
}

func (w *holdsWorld) step() {
	p := w.procs[w.rng.IntN(len(w.procs))]
	switch k := w.rng.IntN(12); {
	case k <= 3:
		if q := w.procs[w.rng.IntN(len(w.procs))]; len(q.pending) > 0 {
			r := q.pending[0]
			q.pending = q.pending[1:]
			w.fold(r)
		}
	case !p.alive:
	case k == 4:
		w.put(p)
	case k == 5:
		w.submit(p)
	case k == 6:
		w.deliver(p)
	case k == 7:
		w.finish(p)
	case k == 8:
		w.lookInside(p)
	case k == 9:
		if o := w.pick(heldBy(p)); o != nil && (p.undecided[o[0]] == 0 || w.broken == 8) {
			delete(p.holds, o[0])
			w.send(p, report{what: "drop", objects: o})
		}
	case k == 10:
		if o := w.pick(heldBy(p)); o != nil && len(p.pending) == 0 {
			w.use(p, o[0])
		}
	case k == 11:
		w.expire(p)
	}
}

func (w *holdsWorld) put(p *holdsProcess) {
	if w.next > 40 {
		return
	}
	var inside []int
	if w.rng.IntN(2) == 0 {
		inside = w.pick(heldBy(p))
	}
	w.next++
	p.holds[w.next] = true
	w.send(p, report{what: "put", object: w.next, objects: inside})
}

func (w *holdsWorld) submit(p *holdsProcess) {
	if len(w.tasks) > 20 {
		return
	}
	from, under := heldBy(p), uint64(0)
	if w.rng.IntN(2) == 0 {
		for t := range uint64(len(w.tasks)) {
			if borrowed, runs := p.borrowed[t+1]; runs {
				from, under = borrowed, t+1
				break
			}
		}
	}
	w.next++
	t := &holdsTask{args: w.pick(from), result: w.next}
	number := uint64(len(w.tasks) + 1)
	w.tasks[number] = t
	p.holds[t.result] = true
	w.send(p, report{what: "submit", task: number, object: t.result, objects: t.args, under: under})
	if w.broken == 3 && len(t.args) > 0 && p.holds[t.args[0]] { // the drop is folded before the submit
		delete(p.holds, t.args[0])
		w.send(p, report{what: "drop", objects: t.args})
		n := len(p.pending)
		p.pending[n-1], p.pending[n-2] = p.pending[n-2], p.pending[n-1]
	}
}

// deliver starts an attempt; other attempts of the same task may run, or have run.
func (w *holdsWorld) deliver(p *holdsProcess) {
	var queued []uint64
	for n := range uint64(len(w.tasks)) {
		if w.tasks[n+1].queued {
			queued = append(queued, n+1)
		}
	}
	if p.expired || len(queued) == 0 {
		return
	}
	number := queued[w.rng.IntN(len(queued))]
	t := w.tasks[number]
	if _, runs := p.borrowed[number]; t.done || runs {
		return
	}
	p.borrowed[number] = t.args
	for _, a := range t.args {
		w.use(p, a)
	}
}

// finish ends the running attempt of the first task. Its result may refer to objects that the process has, and the process
// may keep an argument.
func (w *holdsWorld) finish(p *holdsProcess) {
	for n := range uint64(len(w.tasks)) {
		borrowed, runs := p.borrowed[n+1]
		if !runs {
			continue
		}
		r := report{what: "done", task: n + 1, failed: w.rng.IntN(5) == 0}
		if w.rng.IntN(2) == 0 {
			r.objects = w.pick(append(slices.Clone(borrowed), heldBy(p)...))
		}
		if w.rng.IntN(2) == 0 {
			r.kept = w.pick(borrowed)
		}
		if !w.tasks[n+1].done {
			for _, o := range borrowed {
				w.use(p, o)
			}
		}
		delete(p.borrowed, n+1)
		for _, k := range r.kept {
			p.undecided[k]++
		}
		w.send(p, r)
		return
	}
}

// lookInside finds the objects to which another refers.
func (w *holdsWorld) lookInside(p *holdsProcess) {
	o := w.pick(heldBy(p))
	if p.expired || o == nil {
		return
	}
	w.use(p, o[0])
	for _, inner := range w.refers[o[0]] {
		if p.holds[inner] {
			continue
		}
		p.holds[inner] = true
		if w.broken == 4 { // the outer one is dropped first
			delete(p.holds, o[0])
			w.send(p, report{what: "drop", objects: o})
		}
		w.send(p, report{what: "hold", object: inner})
	}
}

// expire ends the lease of a process. The process may die, go on without noticing, or come back with a new epoch.
func (w *holdsWorld) expire(p *holdsProcess) {
	if w.rng.IntN(12) != 0 || p.expired || p.ID == 1 {
		return
	}
	if w.rng.IntN(2) == 0 {
		p.alive, p.pending = false, nil
	}
	p.expired = true
	w.free(w.holds.Expire(p.Process, nil))
	if w.rng.IntN(2) == 0 {
		old := p.pending
		*p = *newHoldsProcess(Process{p.ID, p.Epoch + 1})
		p.pending = old
	}
}

// fold passes a report to Holds.
func (w *holdsWorld) fold(r report) {
	if w.broken == 5 && r.what != "done" && w.holds.fenced(r.p) { // reports of fenced processes count
		w.foldFenced(r)
		return
	}
	fenced := w.holds.fenced(r.p)
	switch r.what {
	case "put":
		if w.broken == 6 {
			r.objects = nil // the search for a path would not end in a cycle
		}
		w.checkNotFreed(fenced, r.objects...)
		w.holds.Put(r.p, r.object, r.objects...)
		if !fenced {
			w.refers[r.object] = r.objects
		}
	case "submit":
		w.foldSubmit(r, fenced)
	case "done":
		w.foldDone(r, fenced)
	case "hold":
		w.checkNotFreed(fenced, r.object)
		w.holds.Hold(r.p, r.object)
	case "drop":
		w.free(w.holds.Drop(r.p, nil, r.objects...))
	}
}

// foldFenced folds a report as if its process were not fenced.
func (w *holdsWorld) foldFenced(r report) {
	switch r.what {
	case "put", "hold":
		w.checkNotFreed(false, append(slices.Clone(r.objects), r.object)...)
		w.holds.add(r.object, w.holds.process(r.p))
	case "submit":
		w.checkNotFreed(false, r.objects...)
		w.holds.add(r.object, w.holds.process(r.p))
	case "drop":
		for _, o := range r.objects {
			w.free(w.holds.remove(o, w.holds.process(r.p), nil))
		}
	}
}

// checkNotFreed checks that none of the objects, which are to be held, was freed.
func (w *holdsWorld) checkNotFreed(fenced bool, objects ...int) {
	for _, o := range objects {
		if !fenced && w.freed[o] {
			w.fail("object %d is held, and was freed", o)
		}
	}
}

func (w *holdsWorld) foldSubmit(r report, fenced bool) {
	needs := Needs[int]{Task: r.task, Args: r.objects, Result: &r.object, Under: r.under}
	if w.broken == 7 {
		needs.Under = 0
	}
	if w.holds.Submit(r.p, needs) {
		w.checkNotFreed(fenced, r.objects...)
		w.tasks[r.task].queued = true
	} else {
		w.tasks[r.task].done = true
	}
}

func (w *holdsWorld) foldDone(r report, fenced bool) {
	p, t := w.procs[r.p.ID-1], w.tasks[r.task]
	if p.Process == r.p {
		for _, k := range r.kept {
			p.undecided[k]--
		}
	}
	if fenced || t.done {
		return
	}
	t.done = true
	if w.broken == 1 { // the arguments are released first
		for _, a := range t.args {
			w.free(w.holds.remove(a, w.holds.task(r.task), nil))
		}
	}
	kept := r.kept
	if w.broken == 2 {
		kept = nil
	}
	if !r.failed && !w.freed[t.result] {
		w.checkNotFreed(false, r.objects...)
		for _, o := range r.objects {
			if w.broken == 6 { // without checking whether the object refers to itself then
				w.holds.link(t.result, o)
			} else if w.holds.reaches(o, t.result) {
				continue
			}
			w.refers[t.result] = append(w.refers[t.result], o)
		}
	}
	if w.broken == 6 {
		r.objects = nil
	}
	_, freed := w.holds.Done(r.p, r.task, Leaves[int]{Refers: r.objects, Kept: kept, Failed: r.failed}, nil)
	w.free(freed)
	if p.Process == r.p && !r.failed {
		for _, k := range r.kept { // from now on it may use what it keeps
			p.holds[k] = true
		}
	}
}

// end has every process drop everything, and checks that no object is held.
func (w *holdsWorld) end() {
	for _, p := range w.procs {
		if p.alive && !p.expired {
			w.send(p, report{what: "drop", objects: heldBy(p)})
		}
		for len(p.pending) > 0 {
			r := p.pending[0]
			p.pending = p.pending[1:]
			w.fold(r)
		}
	}
	for number := range w.tasks {
		_, freed := w.holds.Done(Process{ID: 99}, number, Leaves[int]{Failed: true}, nil)
		w.free(freed)
	}
	for _, p := range w.procs {
		w.free(w.holds.Expire(p.Process, nil))
	}
	if n := w.holds.Len(); n > 0 && w.fault == "" {
		w.fail("%d objects are still held: %v", n, w.holds.holders)
	}
}
