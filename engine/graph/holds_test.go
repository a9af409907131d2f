package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// rule is one of the rules of Holds that a schedule breaks; 0 keeps all.
type rule int

// A model of processes around Holds: they put, submit with held or borrowed arguments, run tasks that are
// delivered again and again, keep arguments, find objects in others, drop, lose their leases and come back as
// zombies. Nobody uses what is freed, and at the end nothing is left. (After the study's refmodel.)
func TestHoldsModel(t *testing.T) {
	const runs = 4000
	first := rand.Uint64() >> 1
	for seed := first; seed < first+runs; seed++ {
		if says := newHoldsWorld(seed, 0).play(); says != "" {
			t.Fatalf("seed %d: %s", seed, says)
		}
	}
}

// Each rule that is broken shows.
func TestHoldsModelCanFail(t *testing.T) {
	for broken := rule(1); broken <= 8; broken++ {
		says, seed := "", uint64(0)
		for ; says == "" && seed < 20_000; seed++ {
			says = newHoldsWorld(seed, broken).play()
		}
		if says == "" {
			t.Errorf("rule %d is broken, and nobody notices", broken)
		}
		t.Logf("rule %d broken: after %d schedules: %s", broken, seed, says)
	}
}

// said is something that a process says; it counts when it comes into the one order.
type said struct {
	p       Process
	what    string
	object  int
	objects []int // arguments, drops, or to what an object refers
	kept    []int
	task    uint64
	under   uint64
	failed  bool
}

// holdsTask is a task as the world knows it.
type holdsTask struct {
	args   []int
	result int
	done   bool
	queued bool
}

// holdsProcess is one process as it knows itself.
type holdsProcess struct {
	Process
	alive, expired bool
	holds          map[int]bool
	borrowed       map[uint64][]int // under running attempts
	out            []said           // not in the order yet
	unsettled      map[int]int      // kept, and not known whether it may be
}

type holdsWorld struct {
	rng    *rand.Rand
	broken rule
	holds  Holds[int]
	procs  []*holdsProcess
	tasks  map[uint64]*holdsTask
	freed  map[int]bool
	refers map[int][]int
	next   int
	bad    string
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
	return &holdsProcess{Process: p, alive: true, holds: map[int]bool{}, borrowed: map[uint64][]int{}, unsettled: map[int]int{}}
}

func (w *holdsWorld) play() string {
	for step := 0; step < 300 && w.bad == ""; step++ {
		w.step()
	}
	if w.bad == "" {
		w.end()
	}
	return w.bad
}

func (w *holdsWorld) fail(format string, args ...any) {
	if w.bad == "" {
		w.bad = fmt.Sprintf(format, args...)
	}
}

// use checks that a process which may use an object finds it.
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

func (w *holdsWorld) say(p *holdsProcess, s said) {
	s.p = p.Process
	p.out = append(p.out, s)
}

// one returns one of the objects, if there is any.
func (w *holdsWorld) one(from []int) []int {
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
		if q := w.procs[w.rng.IntN(len(w.procs))]; len(q.out) > 0 {
			s := q.out[0]
			q.out = q.out[1:]
			w.take(s)
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
		if o := w.one(heldBy(p)); o != nil && (p.unsettled[o[0]] == 0 || w.broken == 8) {
			delete(p.holds, o[0])
			w.say(p, said{what: "drop", objects: o})
		}
	case k == 10:
		if o := w.one(heldBy(p)); o != nil && len(p.out) == 0 {
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
		inside = w.one(heldBy(p))
	}
	w.next++
	p.holds[w.next] = true
	w.say(p, said{what: "put", object: w.next, objects: inside})
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
	t := &holdsTask{args: w.one(from), result: w.next}
	number := uint64(len(w.tasks) + 1)
	w.tasks[number] = t
	p.holds[t.result] = true
	w.say(p, said{what: "submit", task: number, object: t.result, objects: t.args, under: under})
	if w.broken == 3 && len(t.args) > 0 && p.holds[t.args[0]] { // its drop overtakes it
		delete(p.holds, t.args[0])
		w.say(p, said{what: "drop", objects: t.args})
		n := len(p.out)
		p.out[n-1], p.out[n-2] = p.out[n-2], p.out[n-1]
	}
}

// deliver begins an attempt; others may run, or have ended.
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

// finish ends the oldest running attempt, whose result may refer to what it has, and which may keep an argument.
func (w *holdsWorld) finish(p *holdsProcess) {
	for n := range uint64(len(w.tasks)) {
		borrowed, runs := p.borrowed[n+1]
		if !runs {
			continue
		}
		s := said{what: "done", task: n + 1, failed: w.rng.IntN(5) == 0}
		if w.rng.IntN(2) == 0 {
			s.objects = w.one(append(slices.Clone(borrowed), heldBy(p)...))
		}
		if w.rng.IntN(2) == 0 {
			s.kept = w.one(borrowed)
		}
		if !w.tasks[n+1].done {
			for _, o := range borrowed {
				w.use(p, o)
			}
		}
		delete(p.borrowed, n+1)
		for _, k := range s.kept {
			p.unsettled[k]++
		}
		w.say(p, s)
		return
	}
}

// lookInside finds the objects to which another refers.
func (w *holdsWorld) lookInside(p *holdsProcess) {
	o := w.one(heldBy(p))
	if p.expired || o == nil {
		return
	}
	w.use(p, o[0])
	for _, inner := range w.refers[o[0]] {
		if p.holds[inner] {
			continue
		}
		p.holds[inner] = true
		if w.broken == 4 { // the outer one is dropped before
			delete(p.holds, o[0])
			w.say(p, said{what: "drop", objects: o})
		}
		w.say(p, said{what: "hold", object: inner})
	}
}

// expire ends the lease of a process, which may not know of it; it may come back.
func (w *holdsWorld) expire(p *holdsProcess) {
	if w.rng.IntN(12) != 0 || p.expired || p.ID == 1 {
		return
	}
	if w.rng.IntN(2) == 0 {
		p.alive, p.out = false, nil
	}
	p.expired = true
	w.free(w.holds.Expire(p.Process, nil))
	if w.rng.IntN(2) == 0 {
		old := p.out
		*p = *newHoldsProcess(Process{p.ID, p.Epoch + 1})
		p.out = old
	}
}

// take folds what was said.
func (w *holdsWorld) take(s said) {
	if w.broken == 5 && s.what != "done" && w.holds.fenced(s.p) { // what a zombie says counts
		w.takeOfZombie(s)
		return
	}
	fenced := w.holds.fenced(s.p)
	switch s.what {
	case "put":
		if w.broken == 6 {
			s.objects = nil // to look for a way through a cycle has no end
		}
		w.added(fenced, s.objects...)
		w.holds.Put(s.p, s.object, s.objects...)
		if !fenced {
			w.refers[s.object] = s.objects
		}
	case "submit":
		w.takeSubmit(s, fenced)
	case "done":
		w.takeDone(s, fenced)
	case "hold":
		w.added(fenced, s.object)
		w.holds.Hold(s.p, s.object)
	case "drop":
		w.free(w.holds.Drop(s.p, nil, s.objects...))
	}
}

// takeOfZombie lets it add holds, under the name that it had.
func (w *holdsWorld) takeOfZombie(s said) {
	switch s.what {
	case "put", "hold":
		w.added(false, append(slices.Clone(s.objects), s.object)...)
		w.holds.add(s.object, w.holds.process(s.p))
	case "submit":
		w.added(false, s.objects...)
		w.holds.add(s.object, w.holds.process(s.p))
	case "drop":
		for _, o := range s.objects {
			w.free(w.holds.remove(o, w.holds.process(s.p), nil))
		}
	}
}

// added checks that nobody holds what was freed.
func (w *holdsWorld) added(fenced bool, objects ...int) {
	for _, o := range objects {
		if !fenced && w.freed[o] {
			w.fail("object %d is held, and was freed", o)
		}
	}
}

func (w *holdsWorld) takeSubmit(s said, fenced bool) {
	needs := Needs[int]{Task: s.task, Args: s.objects, Result: &s.object, Under: s.under}
	if w.broken == 7 {
		needs.Under = 0
	}
	if w.holds.Submit(s.p, needs) {
		w.added(fenced, s.objects...)
		w.tasks[s.task].queued = true
	} else {
		w.tasks[s.task].done = true
	}
}

func (w *holdsWorld) takeDone(s said, fenced bool) {
	p, t := w.procs[s.p.ID-1], w.tasks[s.task]
	if p.Process == s.p {
		for _, k := range s.kept {
			p.unsettled[k]--
		}
	}
	if fenced || t.done {
		return
	}
	t.done = true
	if w.broken == 1 { // the arguments are given up first
		for _, a := range t.args {
			w.free(w.holds.remove(a, w.holds.task(s.task), nil))
		}
	}
	kept := s.kept
	if w.broken == 2 {
		kept = nil
	}
	if !s.failed && !w.freed[t.result] {
		w.added(false, s.objects...)
		for _, o := range s.objects {
			if w.broken == 6 { // without a look whether it refers to itself then
				w.holds.link(t.result, o)
			} else if w.holds.reaches(o, t.result) {
				continue
			}
			w.refers[t.result] = append(w.refers[t.result], o)
		}
	}
	if w.broken == 6 {
		s.objects = nil
	}
	_, freed := w.holds.Done(s.p, s.task, Leaves[int]{Refers: s.objects, Kept: kept, Failed: s.failed}, nil)
	w.free(freed)
	if p.Process == s.p && !s.failed {
		for _, k := range s.kept { // only now may it use what it kept
			p.holds[k] = true
		}
	}
}

// end has everybody drop everything: nothing may be left.
func (w *holdsWorld) end() {
	for _, p := range w.procs {
		if p.alive && !p.expired {
			w.say(p, said{what: "drop", objects: heldBy(p)})
		}
		for len(p.out) > 0 {
			s := p.out[0]
			p.out = p.out[1:]
			w.take(s)
		}
	}
	for number := range w.tasks {
		_, freed := w.holds.Done(Process{ID: 99}, number, Leaves[int]{Failed: true}, nil)
		w.free(freed)
	}
	for _, p := range w.procs {
		w.free(w.holds.Expire(p.Process, nil))
	}
	if n := w.holds.Len(); n > 0 && w.bad == "" {
		w.fail("%d objects are still held: %v", n, w.holds.holders)
	}
}
