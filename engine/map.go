package engine

import (
	"context"
	"iter"

	"github.com/tidemill/tidemill/engine/session"
)

// Map runs f over the inputs and yields results as they complete (InOrder: in the order of the inputs).
// A bounded number of tasks is under way: twice the slots of that class in the cluster, more for short
// functions, or as Pending says. A task's failure is yielded in the place of its result, and the rest
// goes on.
//
// Map starts when the loop does. The inputs are taken on the loop's own goroutine, between results: what
// in takes from, the loop body may write to, and while in blocks nothing is yielded. When the loop breaks,
// nothing more is submitted, and what is under way is cancelled. When ctx ends, so it is too, and the
// context's error is yielded last.
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

// MapKeyed is Map for inputs with keys, of any kind: it yields each key with the Ref of its task, which
// has ended, so that Get does not wait. slices.All and maps.All make such inputs. When ctx ends, the keys
// under way are yielded too, with Refs whose Get says so.
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
			m.abandon(func(k K, h *session.Handle) bool { return yield(k, Ref[O]{h: h}) })
		}
	}
}

func unkeyed[I any](in iter.Seq[I]) iter.Seq2[None, I] {
	return func(yield func(None, I) bool) {
		for v := range in {
			if !yield(None{}, v) {
				return
			}
		}
	}
}

// mapping is one Map under way. It belongs to the goroutine of the loop.
type mapping[K, I, O any] struct {
	ctx      context.Context //nolint:containedctx // lives as long as the loop
	f        *Func[I, O]
	s        *session.Session
	template *session.Template
	inOrder  bool
	borrow   bool // results are looked at when they are yielded, and handles used again

	pending int // the bound that Pending gave; 0 = by the session's measure
	bound   int
	flights []flight[K] // tasks under way; a handle's tag is its index
	free    []int       // indices of flights that are not used
	order   []int       // of InOrder: flights in the order of submission
	open    int         // tasks submitted and not yielded
	done    *session.Completions
	batch   []*session.Handle
	scratch []byte
}

type flight[K any] struct {
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
	o, err := f.opts.with(atMap, opts)
	if err != nil {
		return nil, wrap("map "+f.name, err)
	}
	m := &mapping[K, I, O]{ctx: ctx, f: f, s: s, inOrder: o.inOrder, pending: o.pending, done: session.NewCompletions()}
	o.pending = 0 // the bound is this Map's; the session has its own beside
	m.template = o.template(f.name)
	m.measure()
	return m, nil
}

// measure sets the bound for the next while.
func (m *mapping[K, I, O]) measure() {
	switch {
	case m.pending > 0:
		m.bound = m.pending
	case m.pending < 0:
		m.bound = session.DefaultPending
	default:
		m.bound = m.s.InFlight(m.template)
	}
}

// run submits the inputs and yields what is done; it returns the context's error.
func (m *mapping[K, I, O]) run(in iter.Seq2[K, I], yield func(K, *session.Handle) bool) error {
	defer m.cancelRest()
	for k, v := range in {
		if err := m.ctx.Err(); err != nil {
			return wrap("map "+m.f.name, err)
		}
		m.submit(k, v)
		for m.open >= m.bound || m.done.Len() > 0 {
			if more, err := m.take(yield); !more || err != nil {
				return err
			}
		}
	}
	for m.open > 0 {
		if more, err := m.take(yield); !more || err != nil {
			return err
		}
	}
	return nil
}

func (m *mapping[K, I, O]) submit(k K, in I) {
	tag := len(m.flights)
	if n := len(m.free); n > 0 {
		tag, m.free = m.free[n-1], m.free[:n-1]
	} else {
		m.flights = append(m.flights, flight[K]{})
	}
	fl := &m.flights[tag]
	fl.key = k
	if !m.borrow {
		fl.h = nil
	}
	order := session.Order{Template: m.template, Collect: m.done, Tag: tag, Borrow: m.borrow}
	var err error
	if order.Deps, err = m.f.in.toSubmit(&order.Input, &m.scratch, in); err != nil {
		order.Failure = m.f.badInput(in, err)
	}
	fl.h = m.s.Submit(m.ctx, &order, fl.h)
	m.open++
	if m.inOrder {
		m.order = append(m.order, tag)
	}
}

// take waits for tasks to end and yields what can be yielded. more is false when the loop was broken.
func (m *mapping[K, I, O]) take(yield func(K, *session.Handle) bool) (more bool, err error) {
	if m.batch, err = m.done.Take(m.ctx, m.batch); err != nil {
		return false, wrap("map "+m.f.name, err)
	}
	m.measure()
	if m.inOrder {
		n := 0
		for n < len(m.order) && m.flights[m.order[n]].h.Ended() {
			if !m.yield(m.order[n], yield) {
				return false, nil
			}
			n++
		}
		m.order = m.order[n:]
		return true, nil
	}
	for _, h := range m.batch {
		if !m.yield(h.Tag(), yield) {
			return false, nil
		}
	}
	return true, nil
}

func (m *mapping[K, I, O]) yield(tag int, yield func(K, *session.Handle) bool) bool {
	m.open--
	m.free = append(m.free, tag)
	fl := &m.flights[tag]
	return yield(fl.key, fl.h)
}

// cancelRest cancels what is under way. A loop that came to its end has nothing under way; a named job whose
// context has ended hands over what is, and the next run goes on with it.
func (m *mapping[K, I, O]) cancelRest() {
	m.done.Close()
	if m.open == 0 || m.s.Resumable() && m.ctx.Err() != nil {
		return
	}
	var rest []*session.Handle
	for i := range m.flights {
		if m.flights[i].h != nil {
			rest = append(rest, m.flights[i].h)
		}
	}
	m.s.CancelAsync(rest...)
}

// abandon yields the tasks under way as they are.
func (m *mapping[K, I, O]) abandon(yield func(K, *session.Handle) bool) {
	unused := map[int]bool{}
	for _, tag := range m.free {
		unused[tag] = true
	}
	for tag, fl := range m.flights {
		if !unused[tag] && !yield(fl.key, fl.h) {
			return
		}
	}
}
