package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
)

// depend notes to what a task's input refers, and tells event of what is not there yet. mu is held.
func (s *Session) depend(h *Handle, o *Order, event *graph.Event) {
	if len(o.Deps) == 0 {
		return
	}
	r := h.rarely()
	r.deps, r.whole = o.Deps, o.Whole
	for _, d := range o.Deps {
		if d.s != nil {
			d.needed++
		}
	}
	s.awaited = s.awaited[:0]
	for _, d := range o.Deps {
		if !d.ended.Load() {
			s.awaited = append(s.awaited, d.number)
		}
	}
	slices.Sort(s.awaited)
	s.awaited = slices.Compact(s.awaited)
	event.Deps = s.awaited
}

// letDeps ends the task's need of what its input refers to. mu is held.
func (s *Session) letDeps(h *Handle) {
	if h.rare == nil {
		return
	}
	for _, d := range h.rare.deps {
		if d.s != nil {
			d.needed--
			d.forget()
		}
	}
	h.rare.deps, h.rare.settled = nil, nil
}

// ready has a task sent, whose dispatch was commanded. mu is held.
func (s *Session) ready(h *Handle) {
	if h.rare != nil && h.rare.settled == nil && s.takesMore(h) {
		s.unsettle(h.number)
		return
	}
	s.send(h)
}

// send puts a task where it waits to be run: on this agent, or in its lane. mu is held.
func (s *Session) send(h *Handle) {
	if c := h.local(); c != nil {
		s.enlist(c)
	} else {
		s.enqueue(h)
	}
}

// takesMore reports whether the task's input takes more than putting it together: a result of a former run is to
// be read, or it is too large as a whole. mu is held.
func (s *Session) takesMore(h *Handle) bool {
	bytes := len(h.content.Data)
	for _, d := range h.rare.deps {
		if d.unread {
			return true
		}
		bytes += d.content.Inline()
	}
	return bytes > s.values.Bundled()
}

// inputOf returns the task's input as it is sent. mu is held.
func (h *Handle) inputOf() task.Value {
	switch {
	case h.rare == nil || len(h.rare.deps) == 0:
		return h.content
	case h.rare.settled != nil:
		return *h.rare.settled
	case h.rare.whole:
		return h.rare.deps[0].content
	}
	return withRefs(h.content, h.rare.deps)
}

// size returns about how many bytes the task takes in a batch, and how many its input has elsewhere. mu is held.
func (h *Handle) size() (inline int, far int64) {
	switch {
	case h.rare == nil && h.content.External == nil:
		return len(h.content.Data) + task.SpecBytes, 0
	case h.rare == nil || h.rare.whole || h.rare.settled != nil || len(h.rare.deps) == 0:
		v := h.inputOf()
		return v.Inline() + task.SpecBytes, v.Size() - int64(v.Inline())
	}
	inline, all := h.content.Inline(), h.content.Size()
	for _, d := range h.rare.deps {
		inline += d.content.Inline() + task.RefBytes
		all += d.content.Size()
	}
	return inline + task.SpecBytes, all - int64(inline)
}

// settle puts inputs together that take more than that. It talks to the log and to the store, and waits for room
// there, so it has a goroutine of its own.
func (s *Session) settle() {
	for {
		select {
		case <-s.unsettled:
		case <-s.base.Done():
			return
		}
		for number := s.nextUnsettled(); number > 0 && s.base.Err() == nil; number = s.nextUnsettled() {
			s.settled(number, s.settleOne(number))
		}
	}
}

// unsettle has the task's input put together. mu is held.
func (s *Session) unsettle(number uint64) {
	s.settling = append(s.settling, number)
	select {
	case s.unsettled <- struct{}{}:
	default:
	}
}

// nextUnsettled returns the next task whose input is to be put together, 0 if there is none.
func (s *Session) nextUnsettled() (number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.settling) == 0 {
		s.settling = nil
		return 0
	}
	number, s.settling = s.settling[0], s.settling[1:]
	return number
}

// settleWithin bounds one try to put an input together.
const settleWithin = 30 * time.Second

func (s *Session) settleOne(number uint64) error {
	ctx, cancel := context.WithTimeout(s.base, settleWithin)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.openTask(number)
	if h == nil {
		return nil
	}
	if err := s.knowAll(ctx, h.rare.deps); err != nil {
		return err
	}
	if h = s.openTask(number); h == nil {
		return nil
	}
	v := h.inputOf()
	if v.Inline() <= s.values.Bundled() {
		return nil
	}
	claimed, err := s.fit(ctx, &v)
	defer func() { s.drop(claimed) }()
	if h = s.openTask(number); h != nil && err == nil {
		h.rare.settled = &v
		s.holdInput(h)
	}
	return err
}

// knowAll reads what former runs have left of values. mu is held, and given up meanwhile.
func (s *Session) knowAll(ctx context.Context, all []*Handle) error {
	s.mu.Unlock()
	defer s.mu.Lock()
	var v task.Value
	for i, h := range all {
		if err := h.known(ctx, &v); err != nil {
			return becauseOf(err, i)
		}
	}
	return nil
}

// settled goes on with a task whose input was put together, or could not be: what cannot be at all is its failure,
// anything else is tried again.
func (s *Session) settled(number uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.openTask(number)
	if h == nil {
		return
	}
	f, failed := errors.AsType[*task.Failure](err)
	switch {
	case err == nil:
		s.send(h)
	case failed:
		s.condemn(h, f)
	default:
		s.cfg.Logger.Warn("session: put an input together; trying again", "task", h.number, "err", err)
		s.wait(h.number, refusedAgain, settleAgain)
	}
}

// settleAgain is due when an input is to be put together again.
const settleAgain = graph.What(255)

// condemn has a task fail whose input can never be sent. mu is held.
func (s *Session) condemn(h *Handle, f *task.Failure) {
	h.rarely().doom = f
	s.step(&graph.Event{What: graph.Doomed, Task: h.number}, h, nil)
}

// doom notes why a task is to fail whose input refers to one that has failed, or is about to. mu is held.
func (s *Session) doom(h *Handle, cause *Handle) {
	f := &task.Failure{Kind: task.KindError, Message: "it failed"}
	if cause.rare != nil && cause.rare.doom != nil {
		f = cause.rare.doom
	}
	if cause.failure != nil {
		its, failed := errors.AsType[*task.Failure](cause.failure)
		if f = its; !failed {
			f = &task.Failure{Kind: task.KindError, Message: cause.failure.Error()}
		}
	}
	named := *f
	named.Func, named.Task.Number = cause.route.call.Func, cause.number
	h.rarely().doom = task.Because(&named)
}
