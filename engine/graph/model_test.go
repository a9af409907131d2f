package graph_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tidemill/tidemill/engine/task"
)

const (
	models      = 1500
	quietModels = 1500
)

// TestModel plays whole systems by the rules of the hot path: drivers, named jobs among them, which crash,
// are renamed and go on; agents that die, are slow, hand back and record late; a server that starts anew.
// Publishing, delivering, recording and acking are steps of their own, and any other step may come between
// two of them. (A job with two poison tasks, in the process that they kill, has no end: whenever one of them
// has failed for good, the other has the program run again, which tries what had failed anew.) In the end all readers of a log have the same outcomes, each task of a driver that lives or
// was run again has one, and no budget was exceeded.
func TestModel(t *testing.T) {
	playModels(t, models, newMill, []string{
		"published twice", "publish lost", "recorded twice", "record lost", "agent died", "lease of a batch ended", "lost",
		"handed back", "refused", "batch of an ended job", "driver died", "run again", "name lost", "job ended", "boot",
		"clean boot", "started", "lost with a boot", "late entry", "cancelled", "ack lost", "trimmed", "ten losses",
		"resumed", "goes on from the queue", "goes on from a note", "failed before, a new generation",
	})
}

// TestModelQuiet plays systems in which drivers die and nothing else goes wrong: each task runs once.
func TestModelQuiet(t *testing.T) {
	playModels(t, quietModels, newQuietMill, []string{"driver died", "run again", "resumed", "goes on from the queue", "handed back"})
}

func playModels(t *testing.T, n int, start func(uint64, func(string, ...any)) *mill, expected []string) {
	t.Helper()
	first := rand.Uint64()
	if *seed != 0 {
		if err := start(*seed, t.Logf).play(); err != nil {
			t.Fatal(err)
		}
		return
	}
	seen := map[string]int{}
	for i := range uint64(n) {
		m := start(first+i, nil)
		if err := m.play(); err != nil {
			t.Fatalf("seed %d: %v\nTo see it: go test ./engine/graph -run '^%s$' -v -seed=%d", first+i, err, t.Name(), first+i)
		}
		for what, n := range m.seen {
			seen[what] += n
		}
	}
	for _, what := range expected {
		if seen[what] < 20 {
			t.Errorf("%d models have only %d of: %s", n, seen[what], what)
		}
	}
	t.Log(n, "models:", seen)
}

// mill is a system.
type mill struct {
	rng    *rand.Rand
	faults int     // that may still happen
	often  float64 // how probable a fault is, where one may happen
	quiet  bool

	drivers []*driver
	agents  []*worker
	queue   []*message // in order of publishing, the acked ones too
	logs    map[string]*ledger
	boot    int
	unclean bool // the last boot followed no clean end

	ran     map[task.Digest]int // how often it has run to its end
	deaths  map[tries]int       // agents that a poison task has killed, by its dispatch
	results uint64              // so that no two runs have the same result
	seen    map[string]int      // what happened, how often
	tell    func(format string, args ...any)
	err     error // the first thing that was wrong
}

// ledger is a log.
type ledger struct {
	records []record // all of them
	trimmed int      // those before are gone
	ended   bool     // nobody reads it any more
}

type record struct {
	writer  string
	entries []task.Entry
}

// tries is a dispatch of a task.
type tries struct {
	digest          task.Digest
	attempt, losses int
}

// message is a batch in the queue.
type message struct {
	owner     string
	specs     []spec
	boot      int
	delivered int  // in this boot
	held      bool // an agent has it, as far as the server knows
	acked     bool
}

// spec is a task in a batch.
type spec struct {
	number          uint64
	digest          task.Digest
	attempt, losses int
	plan            *plan
}

func newMill(seed uint64, tell func(string, ...any)) *mill {
	m := &mill{
		rng: rand.New(rand.NewPCG(seed, 0)), logs: map[string]*ledger{}, boot: 1, seen: map[string]int{},
		ran: map[task.Digest]int{}, deaths: map[tries]int{}, tell: tell,
	}
	if tell == nil {
		m.tell = func(string, ...any) {}
	}
	m.faults, m.often = m.rng.IntN(60), 0.5*m.rng.Float64()
	for i := range 1 + m.rng.IntN(3) {
		m.drivers = append(m.drivers, newDriver(m, i))
	}
	if n := m.rng.IntN(60); n < 20 { // one at most: see what TestModel says of two
		plans := m.drivers[0].plans
		plans[n%len(plans)].poison = true
	}
	for i := range 1 + m.rng.IntN(3) {
		m.agents = append(m.agents, &worker{m: m, name: fmt.Sprint("n", i)})
	}
	return m
}

func newQuietMill(seed uint64, tell func(string, ...any)) *mill {
	m := newMill(seed, tell)
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
func (m *mill) play() error {
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

func (m *mill) step() bool {
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
func (m *mill) goesWrong(what string) bool {
	if m.quiet || m.faults == 0 || m.rng.Float64() >= m.often {
		return false
	}
	m.faults--
	m.note(what)
	return true
}

func (m *mill) note(what string) {
	m.seen[what]++
	m.tell("   %s", what)
}

func (m *mill) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
		m.tell("%v", m.err)
	}
}

func (m *mill) log(owner string) *ledger {
	if m.logs[owner] == nil {
		m.logs[owner] = &ledger{}
	}
	return m.logs[owner]
}

// publish stores a batch; the request may get lost, and an answer that gets lost has it sent again.
func (m *mill) publish(owner string, specs []spec) (stored bool) {
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

// append stores a record, in the same way.
func (m *mill) append(owner string, r record) (stored bool) {
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

// crash ends the process with the server, an agent and every driver in it, as embedded.
func (m *mill) crash() {
	m.faults--
	m.boots("boot")
	m.unclean = true
}

// restart ends it in order, when nothing runs.
func (m *mill) restart() {
	m.faults = max(m.faults-1, 0)
	m.boots("clean boot")
	m.unclean = false
}

func (m *mill) boots(how string) {
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

// idle reports whether a clean end is possible: nobody holds anything. Each end takes one of the faults, so
// that there is an end.
func (m *mill) idle() bool {
	for _, a := range m.agents {
		if len(a.held) > 0 {
			return false
		}
	}
	return m.faults > 0
}

// ended checks what must hold when nothing can happen any more.
func (m *mill) ended() error {
	for _, d := range m.drivers {
		if d.fate != running {
			continue // one without a job that has died
		}
		if open := d.graph.Open(); open != 0 || d.next < len(d.plans) {
			return fmt.Errorf("%s: %d tasks of %d are submitted, and %d are open at the end", d.name, d.next, len(d.plans), open)
		}
	}
	for dispatch, n := range m.deaths {
		if dispatch.losses >= 10 {
			return fmt.Errorf("a poison task was started %d times with %d losses", n, dispatch.losses)
		}
	}
	if m.quiet {
		for digest, n := range m.ran {
			if n != 1 {
				return fmt.Errorf("task %x ran %d times", digest[:6], n)
			}
		}
	}
	return nil
}

// result returns a value that nobody else has.
func (m *mill) result() task.Value {
	m.results++
	return task.Value{Type: task.CBOR, Data: binary.BigEndian.AppendUint64(nil, m.results)}
}
