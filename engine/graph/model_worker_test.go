package graph_test

import (
	"slices"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/broken"
)

// worker is an agent: it claims batches, runs their tasks, records the outcomes, and acks.
type worker struct {
	m    *system
	name string
	held []*holding
}

// holding is a batch that was delivered to a worker. The server may have redelivered it, which the worker does not notice.
type holding struct {
	of      *worker
	batch   *message
	todo    []spec
	running []spec
	out     []task.Entry // entries to be recorded
}

func (w *worker) acts() []act {
	acts := []act{
		{len(w.held) < 3 && w.next() != nil, w.claim},
		{len(w.held) > 0 && !w.m.quiet && w.m.faults > 0 && w.m.rng.IntN(20) == 0, func() { w.m.faults--; w.dies() }},
	}
	for _, h := range w.held {
		acts = append(acts,
			act{len(h.todo) > 0, h.start},
			act{len(h.todo) > 0 && w.m.rng.IntN(20) == 0, h.handBack},
			act{len(h.running) > 0, h.end},
			act{len(h.out) > 0, h.record},
			act{len(h.todo)+len(h.running)+len(h.out) == 0, h.ack},
			act{w.m.rng.IntN(10) == 0, h.expire},
		)
	}
	return acts
}

// next returns a batch that may be delivered, nil if there is none.
func (w *worker) next() *message {
	for _, b := range w.m.queue {
		if !b.acked && !b.held {
			return b
		}
	}
	return nil
}

func (w *worker) dies() {
	w.m.note("agent died")
	for _, h := range w.held {
		h.batch.held = false
	}
	w.held = nil
}

func (w *worker) claim() {
	m, b := w.m, w.next()
	b.held = true
	b.delivered++
	if slices.ContainsFunc(w.held, func(h *holding) bool { return h.batch == b }) {
		return // redelivered to the same worker, which has it already
	}
	if m.log(b.owner).ended {
		m.note("batch of an ended job")
		b.acked = true
		return
	}
	h := &holding{of: w, batch: b, todo: slices.Clone(b.specs)}
	w.held = append(w.held, h)
	switch {
	case b.delivered > 1:
		m.note("lost")
		h.lose()
	case b.boot < m.boot:
		h.startOld()
	}
	if broken.AckFirst {
		b.acked = true
	}
}

// startOld starts a batch from before this boot. Tasks that are recorded are left out. After a crash, a note is recorded for
// each of the others before it starts; if one is there already, an earlier worker was lost with the batch.
func (h *holding) startOld() {
	m := h.of.m
	ended, started, over := map[uint64]bool{}, map[uint64]dispatchOf{}, map[dispatchOf]bool{}
	log := m.log(h.batch.owner)
	for _, r := range log.records[log.trimmed:] {
		for _, e := range r.entries {
			at := dispatchOf{e.Digest, int(e.Attempt), int(e.Losses)}
			switch {
			case e.State.Final():
				ended[e.Number] = true
			case e.State == task.Started:
				started[e.Number] = at
			case started[e.Number] == at:
				delete(started, e.Number)
			}
			over[at] = over[at] || e.State == task.Errored || e.State == task.Lost
		}
	}
	h.todo = slices.DeleteFunc(h.todo, func(s spec) bool { return ended[s.number] || over[dispatchOf{s.digest, s.attempt, s.losses}] })
	if !m.unclean {
		return
	}
	r := record{writer: h.of.name}
	for _, s := range h.todo {
		if started[s.number] == (dispatchOf{s.digest, s.attempt, s.losses}) {
			m.note("lost with a boot")
			h.lose()
			return
		}
		r.entries = append(r.entries, s.entry(task.Started))
	}
	if len(r.entries) == 0 {
		return
	}
	m.note("started")
	if !m.append(h.batch.owner, r) {
		h.forget()
	}
}

// forget drops the batch, so that the server redelivers it.
func (h *holding) forget() {
	h.batch.held = false
	h.drop()
}

func (h *holding) drop() {
	h.of.held = slices.DeleteFunc(h.of.held, func(other *holding) bool { return other == h })
}

func (s spec) entry(state task.State) task.Entry {
	return task.Entry{Number: s.number, Digest: s.digest, State: state, Dispatch: task.Dispatch{Attempt: int32(s.attempt), Losses: int32(s.losses)}}
}

// lose records all tasks of the batch as lost.
func (h *holding) lose() {
	for _, s := range h.todo {
		h.out = append(h.out, s.entry(task.Lost))
	}
	h.todo = nil
}

// start starts a task, unless the worker refuses it or dies of it.
func (h *holding) start() {
	m := h.of.m
	i := m.rng.IntN(len(h.todo))
	s := h.todo[i]
	h.todo = slices.Delete(slices.Clone(h.todo), i, i+1)
	switch {
	case m.goesWrong("refused"):
		h.out = append(h.out, s.entry(task.Refused))
	case s.plan.poison:
		m.deaths[dispatchOf{s.digest, s.attempt, s.losses}]++
		if len(m.agents) == 1 {
			m.boots("boot")
			m.unclean = true
			return
		}
		h.of.dies()
	default:
		h.running = append(h.running, s)
	}
}

// end ends a running task.
func (h *holding) end() {
	m := h.of.m
	i := m.rng.IntN(len(h.running))
	s := h.running[i]
	h.running = slices.Delete(h.running, i, i+1)
	m.ran[s.digest]++
	e := s.entry(task.OK)
	switch {
	case s.attempt <= min(s.plan.errs, s.plan.retries):
		e.State = task.Errored
	case s.attempt <= s.plan.errs:
		e.State = task.Failed
	}
	if e.State != task.Errored {
		e.Value = m.result()
	}
	h.out = append(h.out, e)
}

// record appends some of the entries that are to be recorded.
func (h *holding) record() {
	n := 1 + h.of.m.rng.IntN(len(h.out))
	if h.of.m.append(h.batch.owner, record{h.of.name, slices.Clone(h.out[:n])}) {
		h.out = h.out[n:]
	}
}

// ack removes the message, even if it was redelivered to another worker meanwhile. It may be lost.
func (h *holding) ack() {
	if h.of.m.goesWrong("ack lost") {
		h.forget()
		return
	}
	h.batch.acked = true
	h.drop()
}

// handBack publishes the tasks that were not started in a new batch.
func (h *holding) handBack() {
	if h.of.m.publish(h.batch.owner, h.todo) {
		h.of.m.note("returned")
		h.todo = nil
	}
}

// expire lets the ack wait of the batch pass, which the worker does not notice.
func (h *holding) expire() {
	if h.batch.held && h.of.m.goesWrong("ack wait exceeded") {
		h.batch.held = false
	}
}
