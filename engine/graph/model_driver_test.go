package graph_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
)

// driver is a program that submits its plans, in one run or, as a named job, in several.
type driver struct {
	m           *system
	base        string
	job         bool
	incarnation int
	incarnates  int // how many further incarnations of the job are to follow
	plans       []*plan
	outcomes    map[task.Digest]*task.Entry // that a run of this incarnation has returned to its user
	fate        fate
	run         uint64

	// Of one run.
	name    string
	past    graph.Past
	graph   *graph.Graph
	phases  []phase // the ones left
	place   int     // in the queue while listing, else in the log
	foldTo  int     // length of the log when folding began
	next    int     // index of the next plan to submit
	number  uint64
	open    map[uint64]*openTask
	numbers map[task.Digest]uint64 // of the open ones
	outbox  []graph.Command
	ends    []graph.Command
	waits   []uint64
	renamed int
}

// fate says whether a driver runs.
type fate int

const (
	running fate = iota
	down         // a named job that nobody runs
	over         // it never runs again
)

// phase is a step of a run before its first submit.
type phase int

const (
	listing phase = iota
	folding
)

// plan is one call in the program.
type plan struct {
	index, retries int
	errs           int  // attempts that fail
	poison         bool // it kills its agent
	cancels        int  // how often it is to be cancelled
}

// openTask is a task without an outcome.
type openTask struct {
	plan   *plan
	digest task.Digest
}

func newDriver(m *system, i int) *driver {
	d := &driver{m: m, base: fmt.Sprint("d", i), job: m.rng.IntN(3) > 0, outcomes: map[task.Digest]*task.Entry{}, incarnates: m.rng.IntN(2)}
	for n := range 1 + m.rng.IntN(8) {
		p := &plan{index: n, retries: m.rng.IntN(3)}
		if m.rng.IntN(3) == 0 {
			p.errs = m.rng.IntN(4)
		}
		if m.rng.IntN(5) == 0 {
			p.cancels = 1
		}
		d.plans = append(d.plans, p)
	}
	d.begin()
	return d
}

// makeQuiet makes the driver a named job whose tasks succeed.
func (d *driver) makeQuiet() {
	d.job, d.incarnates = true, 0
	for _, p := range d.plans {
		p.errs, p.poison, p.cancels = 0, false, 0
	}
	d.begin()
}

// begin starts a run.
func (d *driver) begin() {
	d.run++
	d.fate, d.name, d.past, d.graph = running, d.base, graph.Past{}, graph.New(d.run)
	d.open, d.numbers = map[uint64]*openTask{}, map[task.Digest]uint64{}
	d.outbox, d.ends, d.waits, d.phases, d.next, d.place, d.number = nil, nil, nil, nil, 0, 0, 0
	if !d.job {
		return
	}
	d.name = fmt.Sprint(d.base, "-", d.incarnation)
	d.number = d.run << 32
	d.phases = []phase{listing, folding}
	if broken.FoldFirst {
		d.phases = []phase{folding, listing}
	}
	d.beginPhase()
}

func (d *driver) beginPhase() {
	log := d.m.log(d.name)
	switch {
	case len(d.phases) == 0:
		d.place = d.foldTo
	case d.phases[0] == listing:
		d.place = 0
	default:
		d.place, d.foldTo = log.trimmed, len(log.records)
	}
}

func (d *driver) acts() []act {
	m, log := d.m, d.m.log(d.name)
	alive, ready := d.fate == running, d.fate == running && len(d.phases) == 0
	return []act{
		{d.fate == down, d.runAgain},
		{alive && !ready, d.phase},
		{ready && d.next < len(d.plans), d.submit},
		{ready && d.place < len(log.records), d.read},
		{len(d.outbox) > 0, d.publish},
		{len(d.ends) > 0, d.appendEnds},
		{len(d.waits) > 0, d.due},
		{ready && d.cancellable() != 0, d.cancel},
		{alive && m.faults > 0 && m.rng.IntN(20) == 0, func() { m.faults--; d.dies() }},
		{alive && !d.job && m.rng.IntN(10) == 0, d.loseName},
		{ready && (!d.job || broken.TrimShared) && log.trimmed < d.place && m.rng.IntN(5) == 0, d.trim},
		{ready && d.job && d.finished() && d.incarnates > 0, d.endJob},
	}
}

func (d *driver) finished() bool { return d.next == len(d.plans) && d.graph.Open() == 0 }

func (d *driver) dies() {
	if d.fate != running {
		return
	}
	d.m.note("driver died")
	d.outbox, d.ends, d.waits = nil, nil, nil
	if d.fate = down; !d.job {
		d.fate = over
	}
}

func (d *driver) runAgain() {
	d.m.note("run again")
	d.begin()
}

// phase does one step of the present phase.
func (d *driver) phase() {
	m := d.m
	switch {
	case d.phases[0] == listing && d.place < len(m.queue):
		b := m.queue[d.place]
		d.place++
		if b.owner == d.name && !b.acked {
			for _, s := range b.specs {
				d.past.Listed(s.digest, s.number, task.Dispatch{Attempt: int32(s.attempt), Losses: int32(s.losses)})
			}
		}
	case d.phases[0] == folding && d.place < d.foldTo:
		d.read()
	default:
		d.phases = d.phases[1:]
		d.beginPhase()
	}
}

// digest returns the digest of a call, which is the same in all runs.
func (d *driver) digest(p *plan, generation int) task.Digest {
	sum := sha256.Sum256(fmt.Append(nil, d.name, " ", p.index, " ", generation))
	return task.Digest(sum[:16])
}

func (d *driver) submit() {
	p := d.plans[d.next]
	d.next++
	e := graph.Event{What: graph.Submitted, Retries: p.retries}
	digest := d.digest(p, 0)
	if d.job {
		var left graph.Standing
		var known bool
		for generation := 0; ; generation++ {
			digest = d.digest(p, generation)
			if left, known = d.past.Take(digest); !known || left.State == task.OK || !left.State.Final() {
				break
			}
			d.m.note("failed before, a new generation")
		}
		if known && left.State == task.OK {
			d.m.note("resumed")
			d.resolve(int(left.Sequence), left.Index)
			return
		}
		if known {
			e.Task, e.Dispatch, e.Queued = left.Number, left.Dispatch, left.Queued
			d.m.note(map[bool]string{true: "goes on from the queue", false: "goes on from a note"}[left.Queued])
		}
	}
	if e.Task == 0 {
		d.number++
		e.Task = d.number
	}
	d.open[e.Task], d.numbers[digest] = &openTask{p, digest}, e.Task
	d.step(e, 0, 0)
}

// step passes an event to the graph and carries out the commands. at and index are the position of the entry of a Recorded.
func (d *driver) step(e graph.Event, at, index int) {
	d.m.logf("%s: %s", d.name, eventInWords(e))
	for _, c := range d.graph.Step(&e, nil) {
		d.m.logf("   %s", inWords([]graph.Command{c}))
		t := d.open[c.Task]
		if t == nil {
			d.m.fail("%s: task %d has its outcome: got %s, want nothing", d.name, c.Task, inWords([]graph.Command{c}))
			return
		}
		switch c.Do {
		case graph.Dispatch:
			if int(c.Attempt) > t.plan.retries+1 || c.Losses >= graph.MaxLosses {
				d.m.fail("%s: got %s, want at most %d attempts and fewer than %d losses", d.name, inWords([]graph.Command{c}), t.plan.retries+1, graph.MaxLosses)
			}
			d.outbox = append(d.outbox, c)
		case graph.Resolve:
			d.resolve(at, index)
			delete(d.open, c.Task)
			delete(d.numbers, t.digest)
		case graph.Wait:
			d.waits = append(d.waits, c.Task)
		case graph.End:
			if c.Why == graph.LostTooMuch {
				d.m.note("ten losses")
			}
			d.ends = append(d.ends, c)
		}
	}
}

// resolve returns an outcome to the user of the program. It must be the first final entry in the log, and the same as in
// former runs.
func (d *driver) resolve(at, index int) {
	records := d.m.log(d.name).records
	e := &records[at].entries[index]
	for i, r := range records[:at+1] {
		for n := range r.entries {
			other := &r.entries[n]
			if other.State.Final() && other.Number == e.Number && other.Digest == e.Digest && (i < at || n < index) {
				d.m.fail("%s: outcome of task %d: got entry %d of record %d, want the first final one, entry %d of record %d", d.name, e.Number, index, at, n, i)
			}
		}
	}
	if before := d.outcomes[e.Digest]; before != nil && (before.State != e.State || !bytes.Equal(before.Value.Data, e.Value.Data)) {
		d.m.fail("%s: outcome of task %d: got %v %x, want %v %x as in a former run", d.name, e.Number, e.State, e.Value.Data, before.State, before.Value.Data)
	}
	d.outcomes[e.Digest] = e
}

// read folds the next record.
func (d *driver) read() {
	at := d.place
	d.place++
	r := d.m.log(d.name).records[at]
	for i := range r.entries {
		e := &r.entries[i]
		number := e.Number
		if d.job {
			var open bool
			if number, open = d.numbers[e.Digest]; !open {
				d.past.Recorded(e, r.writer, uint64(at), i)
				continue
			}
		}
		if d.open[number] != nil {
			d.step(graph.Event{What: graph.Recorded, Task: number, State: e.State, Dispatch: e.Dispatch}, at, i)
		}
	}
}

// publish sends some of the tasks in the outbox.
func (d *driver) publish() {
	n := 1 + d.m.rng.IntN(len(d.outbox))
	var specs []spec
	for _, c := range d.outbox[:n] {
		if t := d.open[c.Task]; t != nil {
			specs = append(specs, spec{c.Task, t.digest, int(c.Attempt), int(c.Losses), t.plan})
		}
	}
	if len(specs) == 0 || d.m.publish(d.name, specs) {
		d.outbox = slices.Clone(d.outbox[n:])
	}
}

// appendEnds appends final entries. If that fails, the graph gets Due events and returns the commands again.
func (d *driver) appendEnds() {
	ends := d.ends
	d.ends = nil
	r := record{writer: d.name}
	for _, c := range ends {
		t := d.open[c.Task]
		if t == nil {
			continue
		}
		e := task.Entry{Number: c.Task, Digest: t.digest, State: task.Failed, Dispatch: c.Dispatch, Value: d.m.result()}
		if c.Why == graph.Asked {
			e.State = task.Cancelled
			d.m.note("cancelled")
		}
		r.entries = append(r.entries, e)
	}
	if len(r.entries) > 0 && !d.m.append(d.name, r) {
		for _, c := range ends {
			d.waits = append(d.waits, c.Task)
		}
	}
}

func (d *driver) due() {
	i := d.m.rng.IntN(len(d.waits))
	number := d.waits[i]
	d.waits = slices.Delete(d.waits, i, i+1)
	d.step(graph.Event{What: graph.Due, Task: number}, 0, 0)
}

// cancellable returns a task that is still to be cancelled, 0 if there is none.
func (d *driver) cancellable() uint64 {
	for number := range d.open {
		if d.open[number].plan.cancels > 0 {
			return number
		}
	}
	return 0
}

func (d *driver) cancel() {
	number := d.cancellable()
	d.open[number].plan.cancels--
	d.step(graph.Event{What: graph.Cancel, Task: number}, 0, 0)
}

// loseName loses the lease: the driver goes on under a new name.
func (d *driver) loseName() {
	if !d.m.goesWrong("name lost") {
		return
	}
	d.renamed++
	d.name = fmt.Sprint(d.base, "-", d.renamed)
	d.outbox, d.ends, d.place = nil, nil, 0
	for number := range d.open {
		d.step(graph.Event{What: graph.Void, Task: number}, 0, 0)
	}
}

func (d *driver) trim() {
	d.m.note("trimmed")
	d.m.log(d.name).trimmed = d.place
}

// endJob ends the incarnation and runs the program again as the next one.
func (d *driver) endJob() {
	d.m.note("job ended")
	d.m.log(d.name).ended = true
	d.incarnation++
	d.incarnates--
	d.outcomes = map[task.Digest]*task.Entry{}
	d.begin()
}
