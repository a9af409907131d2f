package graph_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

const (
	models      = 1500
	quietModels = 1500
)

// TestModel runs whole systems: drivers, some of them named jobs, which crash, are renamed and run again; agents that die,
// are slow, return tasks and record late; a server that restarts. Publishing, delivering, recording and acking are steps of
// their own, with any other step possible between two of them. At the end, all readers of a log have the same outcomes,
// each task of a driver that runs has one, and no task was dispatched more often than its retries and MaxLosses allow.
//
// A system has at most one poison task, which kills its agent. A job in the same process as two of them may have no end:
// whenever one of them has failed, the other one kills the program, and the next run tries the failed one again.
func TestModel(t *testing.T) {
	playModels(t, models, newSystem, []string{
		"published twice", "publish lost", "recorded twice", "record lost", "agent died", "ack wait exceeded", "lost",
		"returned", "refused", "batch of an ended job", "driver died", "run again", "name lost", "job ended", "boot",
		"clean boot", "started", "lost with a boot", "late entry", "cancelled", "ack lost", "trimmed", "ten losses",
		"resumed", "goes on from the queue", "goes on from a note", "failed before, a new generation",
	})
}

// In systems where drivers die and nothing else fails, each task runs once.
func TestModelQuiet(t *testing.T) {
	playModels(t, quietModels, newQuietSystem, []string{"driver died", "run again", "resumed", "goes on from the queue", "returned"})
}

func playModels(t *testing.T, n int, start func(uint64, func(string, ...any)) *system, expected []string) {
	t.Helper()
	first := rand.Uint64()
	if *graph.Seed != 0 {
		if err := start(*graph.Seed, t.Logf).play(); err != nil {
			t.Fatalf("seed %d: got fault %v, want none", *graph.Seed, err)
		}
		return
	}
	seen := map[string]int{}
	for i := range uint64(n) {
		m := start(first+i, nil)
		if err := m.play(); err != nil {
			t.Fatalf("seed %d: got fault %v, want none\nTo repeat it: go test ./engine/graph -run '^%s$' -v -seed=%d", first+i, err, t.Name(), first+i)
		}
		for what, n := range m.seen {
			seen[what] += n
		}
	}
	for _, what := range expected {
		if seen[what] < 20 {
			t.Errorf("%q in %d models: got %d, want at least 20", what, n, seen[what])
		}
	}
	t.Log(n, "models:", seen)
}

// system is drivers, agents, a queue and logs.
type system struct {
	rng    *rand.Rand
	faults int     // how many may still happen
	often  float64 // the probability of a fault where one may happen
	quiet  bool

	drivers []*driver
	agents  []*worker
	queue   []*message // in the order of publishing, with those that were acked
	logs    map[string]*ledger
	boot    int
	unclean bool // the last boot followed a crash

	ran     map[task.Digest]int // how often the task has run to its end
	deaths  map[dispatchOf]int  // how many agents a poison task has killed, by its dispatch
	results uint64              // counts results, so that all differ
	seen    map[string]int      // by what happened: how often
	logf    func(format string, args ...any)
	err     error // the first fault
}

// ledger is a log.
type ledger struct {
	records []record // with those that were trimmed
	trimmed int      // how many were trimmed
	ended   bool     // nobody reads it any more
}

type record struct {
	writer  string
	entries []task.Entry
}

// dispatchOf is a dispatch of a task.
type dispatchOf struct {
	digest          task.Digest
	attempt, losses int
}

// message is a batch in the queue.
type message struct {
	owner     string
	specs     []spec
	boot      int
	delivered int  // how often in this boot
	held      bool // delivered, and the ack wait has not passed
	acked     bool
}

// spec is a task in a batch.
type spec struct {
	number          uint64
	digest          task.Digest
	attempt, losses int
	plan            *plan
}

func newSystem(seed uint64, logf func(string, ...any)) *system {
	m := &system{
		rng: rand.New(rand.NewPCG(seed, 0)), logs: map[string]*ledger{}, boot: 1, seen: map[string]int{},
		ran: map[task.Digest]int{}, deaths: map[dispatchOf]int{}, logf: logf,
	}
	if logf == nil {
		m.logf = func(string, ...any) {}
	}
	m.faults, m.often = m.rng.IntN(60), 0.5*m.rng.Float64()
	for i := range 1 + m.rng.IntN(3) {
		m.drivers = append(m.drivers, newDriver(m, i))
	}
	if n := m.rng.IntN(60); n < 20 { // at most one: see TestModel
		plans := m.drivers[0].plans
		plans[n%len(plans)].poison = true
	}
	for i := range 1 + m.rng.IntN(3) {
		m.agents = append(m.agents, &worker{m: m, name: fmt.Sprint("n", i)})
	}
	return m
}

// newQuietSystem returns a system with one driver, whose tasks succeed. Only drivers die in it.
func newQuietSystem(seed uint64, logf func(string, ...any)) *system {
	m := newSystem(seed, logf)
	m.quiet, m.faults = true, 1+m.rng.IntN(5)
	m.drivers = m.drivers[:1]
	m.drivers[0].makeQuiet()
	return m
}

// act is something that may happen next.
type act struct {
	possible bool
	do       func()
}

// play runs the system until nothing can happen any more.
func (m *system) play() error {
	const longest = 100_000
	for range longest {
		if m.err != nil {
			return m.err
		}
		if !m.step() {
			return m.ended()
		}
	}
	return fmt.Errorf("no end after %d steps", longest)
}

func (m *system) step() bool {
	acts := []act{
		{m.faults > 0 && !m.quiet && m.rng.IntN(20) == 0, m.crash},
		{!m.quiet && m.rng.IntN(20) == 0 && m.idle(), m.restart},
	}
	for _, d := range m.drivers {
		acts = append(acts, d.acts()...)
	}
	for _, a := range m.agents {
		acts = append(acts, a.acts()...)
	}
	n := 0
	for _, a := range acts {
		if a.possible {
			acts[n] = a
			n++
		}
	}
	if n == 0 {
		return false
	}
	acts[m.rng.IntN(n)].do()
	return true
}

// goesWrong decides whether a fault happens where one may.
func (m *system) goesWrong(what string) bool {
	if m.quiet || m.faults == 0 || m.rng.Float64() >= m.often {
		return false
	}
	m.faults--
	m.note(what)
	return true
}

func (m *system) note(what string) {
	m.seen[what]++
	m.logf("   %s", what)
}

func (m *system) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
		m.logf("%v", m.err)
	}
}

func (m *system) log(owner string) *ledger {
	if m.logs[owner] == nil {
		m.logs[owner] = &ledger{}
	}
	return m.logs[owner]
}

// publish stores a batch. The request may be lost, or the answer; then the batch is sent again.
func (m *system) publish(owner string, specs []spec) (stored bool) {
	if m.goesWrong("publish lost") {
		return false
	}
	copies := 1
	if m.goesWrong("published twice") {
		copies = 2
	}
	for range copies {
		m.queue = append(m.queue, &message{owner: owner, specs: append([]spec(nil), specs...), boot: m.boot})
	}
	return true
}

// append stores a record in the same way.
func (m *system) append(owner string, r record) (stored bool) {
	if m.goesWrong("record lost") {
		return false
	}
	log := m.log(owner)
	if log.ended {
		m.note("late entry")
	}
	log.records = append(log.records, r)
	if m.goesWrong("recorded twice") {
		log.records = append(log.records, r)
	}
	return true
}

// crash kills the one process with the embedded server, all agents and all drivers.
func (m *system) crash() {
	m.faults--
	m.boots("boot")
	m.unclean = true
}

// restart stops that process in order, while nothing runs.
func (m *system) restart() {
	m.faults = max(m.faults-1, 0)
	m.boots("clean boot")
	m.unclean = false
}

func (m *system) boots(how string) {
	m.note(how)
	m.boot++
	for _, a := range m.agents {
		a.held = nil
	}
	for _, d := range m.drivers {
		d.dies()
	}
	for _, b := range m.queue {
		b.delivered, b.held = 0, false
	}
}

// idle reports whether the process can stop in order: no agent has a batch. A restart counts as a fault, so that there are
// finitely many.
func (m *system) idle() bool {
	for _, a := range m.agents {
		if len(a.held) > 0 {
			return false
		}
	}
	return m.faults > 0
}

// ended checks the system when nothing can happen any more.
func (m *system) ended() error {
	for _, d := range m.drivers {
		if d.fate != running {
			continue // a driver without a named job that has died
		}
		if open := d.graph.Open(); open != 0 || d.next < len(d.plans) {
			return fmt.Errorf("%s at the end: got %d of %d tasks submitted and %d open, want all submitted and none open", d.name, d.next, len(d.plans), open)
		}
	}
	for dispatch, n := range m.deaths {
		if dispatch.losses >= 10 {
			return fmt.Errorf("a poison task was started %d times with %d losses, want it to fail at 10", n, dispatch.losses)
		}
	}
	if m.quiet {
		for digest, n := range m.ran {
			if n != 1 {
				return fmt.Errorf("task %x: got %d runs, want 1", digest[:6], n)
			}
		}
	}
	return nil
}

// result returns a value that no other run has.
func (m *system) result() task.Value {
	m.results++
	return task.Value{Type: task.CBOR, Data: binary.BigEndian.AppendUint64(nil, m.results)}
}
