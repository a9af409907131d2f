package engine

import (
	"context"
	"iter"

	"github.com/tidemill/tidemill/engine/session"
)

// Map submits a task for each input and yields the results as they complete, or in the order of the inputs with InOrder. If
// a task fails, its failure is yielded in place of its result, and the other tasks continue.
//
// The number of tasks in flight is limited: to twice the number of such tasks that the cluster can run at a time, to more
// for short functions, or to what Pending says.
//
// Nothing is submitted until the caller ranges over the result. Inputs are read on the goroutine of the loop, between
// results. So the loop body may change what in reads from, and no result is yielded while in blocks. When the loop
// breaks, no further tasks are submitted and those in flight are cancelled. When ctx ends, the same happens, and the
// last pair has the error of ctx; a named job keeps the tasks in flight for its next run.
func Map[I, O any](ctx context.Context, f *Func[I, O], in iter.Seq[I], opts ...Option) iter.Seq2[O, error] {
	return func(yield func(O, error) bool) {
		var zero O
		m, err := newMapping[None](ctx, f, opts)
		if err != nil {
			yield(zero, err)
			return
		}
		m.borrow = true
		err = m.run(unkeyed(in), func(_ None, h *session.Handle) bool { return yield(decoded(ctx, h, f.out)) })
		if err != nil {
			yield(zero, err)
		}
	}
}

// MapKeyed is Map for inputs with keys, such as those of slices.All and maps.All. It yields each key with the Ref of its
// task, which has ended, so that Get does not wait. When ctx ends, it yields the keys of the tasks in flight too, with
// Refs that have not ended. If the Map cannot start, every key is yielded with a Ref whose Get returns the error.
func MapKeyed[K, I, O any](ctx context.Context, f *Func[I, O], in iter.Seq2[K, I], opts ...Option) iter.Seq2[K, Ref[O]] {
	return func(yield func(K, Ref[O]) bool) {
		m, err := newMapping[K](ctx, f, opts)
		if err != nil {
			for k := range in {
				if !yield(k, failed[O](err)) {
					return
				}
			}
			return
		}
		err = m.run(in, func(k K, h *session.Handle) bool { return yield(k, Ref[O]{h: h}) })
		if err != nil {
			m.yieldRest(func(k K, h *session.Handle) bool { return yield(k, Ref[O]{h: h}) })
		}
	}
}

// unkeyed returns the inputs with empty keys.
func unkeyed[I any](in iter.Seq[I]) iter.Seq2[None, I] {
	return func(yield func(None, I) bool) {
		for v := range in {
			if !yield(None{}, v) {
				return
			}
		}
	}
}

// mapping is a running Map. Only the goroutine of the loop uses it.
type mapping[K, I, O any] struct {
	ctx      context.Context //nolint:containedctx // lives as long as the loop
	f        *Func[I, O]
	s        *session.Session
	template *session.Template
	inOrder  bool
	borrow   bool // each result is decoded before the next submit, so that its handle and memory can be used again

	pending int // the argument of Pending; 0 = the session decides
	bound   int // how many tasks may be in flight now
	open    int // tasks submitted and not yet yielded; at most bound
	done    *session.Completions

	tasks []mapTask[K] // a handle's tag is an index into tasks
	free  []int        // indexes into tasks that are not in use
	order []int        // with InOrder: indexes into tasks, in the order of submission

	ended   []*session.Handle // scratch: what done.Take returned last
	scratch []byte            // for encoding inputs
}

// mapTask is a task of a Map that is submitted and not yet yielded, or memory for one.
type mapTask[K any] struct {
	key K
	h   *session.Handle
}

func newMapping[K, I, O any](ctx context.Context, f *Func[I, O], opts []Option) (*mapping[K, I, O], error) {
	if f == nil {
		return nil, wrap("map", errNilFunc)
	}
	s, err := session.From(ctx)
	if err != nil {
		return nil, wrap("map "+f.name, err)
	}
	o, err := f.opts.apply(inMap, opts)
	if err != nil {
		return nil, wrap("map "+f.name, err)
	}
	m := &mapping[K, I, O]{ctx: ctx, f: f, s: s, inOrder: o.inOrder, pending: o.pending, done: session.NewCompletions()}
	o.pending = 0 // here Pending limits this Map; the session has its own default limit
	m.template = o.template(f.name)
	m.updateBound()
	return m, nil
}

// updateBound sets bound from what the session knows now about the cluster and the run times.
func (m *mapping[K, I, O]) updateBound() {
	switch {
	case m.pending > 0:
		m.bound = m.pending
	case m.pending < 0:
		m.bound = session.DefaultPending
	default:
		m.bound = m.s.InFlight(m.template)
	}
}

// run submits the inputs and yields the tasks that have ended. Its error is that of ctx; it is nil if the loop broke.
func (m *mapping[K, I, O]) run(in iter.Seq2[K, I], yield func(K, *session.Handle) bool) error {
	defer m.cancelRest()
	for k, v := range in {
		if err := m.ctx.Err(); err != nil {
			return wrap("map "+m.f.name, err)
		}
		m.submit(k, v)
		for m.open >= m.bound || m.done.Len() > 0 {
			if more, err := m.yieldEnded(yield); !more || err != nil {
				return err
			}
		}
	}
	for m.open > 0 {
		if more, err := m.yieldEnded(yield); !more || err != nil {
			return err
		}
	}
	return nil
}

func (m *mapping[K, I, O]) submit(k K, in I) {
	tag := len(m.tasks)
	if n := len(m.free); n > 0 {
		tag, m.free = m.free[n-1], m.free[:n-1]
	} else {
		m.tasks = append(m.tasks, mapTask[K]{})
	}
	t := &m.tasks[tag]
	t.key = k
	if !m.borrow {
		t.h = nil
	}
	order := session.Order{Template: m.template, Collect: m.done, Tag: tag, Borrow: m.borrow}
	var err error
	if order.Deps, err = m.f.in.encodeInput(&order.Input, &m.scratch, in); err != nil {
		order.Failure = m.f.badInput(in, err)
	}
	t.h = m.s.Submit(m.ctx, &order, t.h)
	m.open++
	if m.inOrder {
		m.order = append(m.order, tag)
	}
}

// yieldEnded waits until a task has ended, and yields those that have. more is false if the loop broke or ctx ended.
func (m *mapping[K, I, O]) yieldEnded(yield func(K, *session.Handle) bool) (more bool, err error) {
	if m.ended, err = m.done.Take(m.ctx, m.ended); err != nil {
		return false, wrap("map "+m.f.name, err)
	}
	m.updateBound()
	if m.inOrder {
		n := 0
		for n < len(m.order) && m.tasks[m.order[n]].h.Ended() {
			if !m.yield(m.order[n], yield) {
				return false, nil
			}
			n++
		}
		m.order = m.order[n:]
		return true, nil
	}
	for _, h := range m.ended {
		if !m.yield(h.Tag(), yield) {
			return false, nil
		}
	}
	return true, nil
}

func (m *mapping[K, I, O]) yield(tag int, yield func(K, *session.Handle) bool) bool {
	m.open--
	m.free = append(m.free, tag)
	t := &m.tasks[tag]
	return yield(t.key, t.h)
}

// cancelRest cancels the tasks in flight. In a named job whose context has ended, it leaves them to the next run.
func (m *mapping[K, I, O]) cancelRest() {
	m.done.Close()
	if m.open == 0 || m.s.Resumable() && m.ctx.Err() != nil {
		return
	}
	var rest []*session.Handle
	for i := range m.tasks {
		if m.tasks[i].h != nil {
			rest = append(rest, m.tasks[i].h)
		}
	}
	m.s.CancelAsync(rest...)
}

// yieldRest yields the tasks in flight, which have not ended.
func (m *mapping[K, I, O]) yieldRest(yield func(K, *session.Handle) bool) {
	unused := map[int]bool{}
	for _, tag := range m.free {
		unused[tag] = true
	}
	for tag, t := range m.tasks {
		if !unused[tag] && !yield(t.key, t.h) {
			return
		}
	}
}
