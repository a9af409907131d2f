package session

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/objstore"
)

// An object is held by the handles whose values have it, by open tasks whose inputs have it, and in a named job
// by the log, since the next run will look for its results. When nobody holds it any more, the keeper removes it;
// what is left when the session ends goes with its scope.

// objects is what a session knows of the objects that it uses.
type objects struct {
	holds   graph.Holds[objstore.Key] // guarded by Session.mu
	handles map[objstore.Key]int      // guarded by Session.mu; how many claims of the session's there are
	free    []objstore.Key            // guarded by Session.mu; to be removed
	dropped *dropped

	putting  int                     // guarded by Session.mu; values that are being put
	removals uint64                  // guarded by Session.mu; that are over
	removed  map[objstore.Key]uint64 // guarded by Session.mu; by which of them, while something is being put
	removing removing                // guarded by Session.mu
}

// removing is a removal that has begun.
type removing struct {
	keys map[objstore.Key]bool
	over chan struct{} // closed when it is
}

// Who holds objects for a session.
var (
	bySession = graph.Process{ID: 1}
	byLog     = graph.Process{ID: 2}
)

// dropped collects the objects of handles that the garbage collector has found. Its cleanups do no more than
// append; the session looks when it next sends.
type dropped struct {
	mu   sync.Mutex
	keys []objstore.Key // guarded by mu
}

func (d *dropped) add(keys []objstore.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys = append(d.keys, keys...)
}

func (d *dropped) take() (keys []objstore.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys, d.keys = d.keys, nil
	return keys
}

// claim holds the objects of a value for somebody in this session who will drop them. mu is held.
func (s *Session) claim(v *task.Value) (keys []objstore.Key) {
	v.Objects(func(o *task.Object) bool {
		if key := values.KeyOf(o); key.Scope == s.scope { // others' objects are theirs to remove
			keys = append(keys, key)
		}
		return true
	})
	if len(keys) > 0 && s.objects.handles == nil {
		s.objects.handles = map[objstore.Key]int{}
	}
	for _, key := range keys {
		if s.objects.handles[key]++; s.objects.handles[key] == 1 {
			s.objects.holds.Hold(bySession, key)
		}
	}
	return keys
}

// hold has the handle hold the objects of its value. mu is held.
func (s *Session) hold(h *Handle) {
	keys := s.claim(&h.content)
	if len(keys) == 0 {
		return
	}
	r := h.rarely()
	r.keys = keys
	r.cleanup = runtime.AddCleanup(h, s.objects.dropped.add, keys)
}

// let ends the handle's hold on the objects of its value. mu is held.
func (s *Session) let(h *Handle) {
	if h.rare == nil || len(h.rare.keys) == 0 {
		return
	}
	h.rare.cleanup.Stop()
	s.drop(h.rare.keys)
	h.rare.keys = nil
}

// drop ends a claim. mu is held.
func (s *Session) drop(keys []objstore.Key) {
	for _, key := range keys {
		if s.objects.handles[key]--; s.objects.handles[key] > 0 {
			continue
		}
		delete(s.objects.handles, key)
		s.objects.free = s.objects.holds.Drop(bySession, s.objects.free, key)
	}
	if len(s.objects.free) > 0 {
		s.nudge()
	}
}

// holdInput has an open task hold the objects that were put for its input alone. mu is held.
func (s *Session) holdInput(h *Handle) {
	var keys []objstore.Key
	if o := h.content.Object(); o != nil {
		keys = append(keys, values.KeyOf(o))
	}
	if h.rare != nil && h.rare.settled != nil {
		if o := h.rare.settled.Object(); o != nil {
			keys = append(keys, values.KeyOf(o))
		}
	}
	if len(keys) > 0 {
		s.objects.holds.Submit(bySession, graph.Needs[objstore.Key]{Task: h.number, Args: keys})
	}
}

// holdsInput reports whether an open task holds objects for its input. mu is held.
func (h *Handle) holdsInput() bool {
	return h.content.External != nil || h.rare != nil && h.rare.settled != nil
}

// letInput ends that. mu is held.
func (s *Session) letInput(h *Handle) {
	_, s.objects.free = s.objects.holds.Done(bySession, h.number, graph.Leaves[objstore.Key]{}, s.objects.free)
	if len(s.objects.free) > 0 {
		s.nudge()
	}
}

// recorded has the log of a named job hold the objects of a result, so that its next run finds them. mu is held.
func (s *Session) recorded(v *task.Value) {
	v.Objects(func(o *task.Object) bool {
		s.objects.holds.Hold(byLog, values.KeyOf(o))
		return true
	})
}

// disown removes the objects of a result that is nobody's: its task has another outcome. Those in the log of a named
// job stay, whatever they are, until it ends. mu is held.
func (s *Session) disown(e *task.Entry) {
	if s.job != nil || e.State != task.OK || !e.Value.HasObjects() {
		return
	}
	v := e.Value.Clone()
	v.Objects(func(o *task.Object) bool {
		if key := values.KeyOf(o); key.Scope == s.scope && !s.objects.holds.Held(key) {
			s.objects.free = append(s.objects.free, key)
		}
		return true
	})
	s.nudge()
}

// clean removes what nobody holds any more. keeping is held.
func (s *Session) clean(ctx context.Context) error {
	s.mu.Lock()
	s.drop(s.objects.dropped.take())
	free := s.objects.free
	s.objects.free = nil
	kept := free[:0]
	for _, key := range free {
		if !s.objects.holds.Held(key) && key.Scope == s.scope { // the same content may have been put again
			kept = append(kept, key)
		}
	}
	if len(kept) == 0 || s.values.Objects == nil {
		s.mu.Unlock()
		return nil
	}
	s.objects.remove(kept)
	s.mu.Unlock()
	err := s.values.Objects.Remove(ctx, kept...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects.removedNow()
	if err != nil {
		s.objects.free = append(s.objects.free, kept...)
	}
	return err
}

// remove notes that the objects are about to be removed: who puts one of them now waits until they are. Session.mu
// is held.
func (o *objects) remove(keys []objstore.Key) {
	o.removing = removing{make(map[objstore.Key]bool, len(keys)), make(chan struct{})}
	for _, key := range keys {
		o.removing.keys[key] = true
	}
}

// removedNow notes that they are. Session.mu is held.
func (o *objects) removedNow() {
	o.removals++
	if o.putting > 0 && o.removed == nil {
		o.removed = map[objstore.Key]uint64{}
	}
	for key := range o.removing.keys {
		if o.putting > 0 {
			o.removed[key] = o.removals
		}
	}
	close(o.removing.over)
	o.removing = removing{}
}

// Put returns a handle of a value that is there already. What is too large of it for messages is put into the
// store; what it refers to is waited for. v.Data may be changed afterwards if it is larger than InlineBytes, and
// belongs to the handle else.
func (s *Session) Put(ctx context.Context, v task.Value, refs []*Handle) *Handle {
	h, err := s.put(ctx, v, refs)
	if err != nil {
		return Failed(err)
	}
	return h
}

func (s *Session) put(ctx context.Context, v task.Value, refs []*Handle) (*Handle, error) {
	if err := s.cfg.Full(); err != nil {
		return nil, err
	}
	for i, r := range refs {
		if err := s.owns(r); err != nil {
			return nil, err
		}
		if err := r.Wait(ctx); err != nil {
			return nil, err
		}
		if err := r.known(ctx, &task.Value{}); err != nil {
			return nil, becauseOf(err, i)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := usable(refs); err != nil {
		return nil, err
	}
	v = withRefs(v, refs)
	claimed, err := s.fit(ctx, &v)
	defer func() { s.drop(claimed) }()
	if err == nil {
		err = s.broken
	}
	if err != nil {
		return nil, err
	}
	h := &Handle{s: s, content: v}
	if s.job != nil {
		h.named = &named{digest: valueDigest(&v)}
	}
	h.ended.Store(true)
	s.hold(h)
	return h, nil
}

// fit makes the value such that it fits into messages. Its objects are claimed while it does, and afterwards, with an
// error too: what was put is removed when the claim is dropped and nobody else holds it. mu is held, and given up
// while it puts.
func (s *Session) fit(ctx context.Context, v *task.Value) (claimed []objstore.Key, err error) {
	if values.IsSmall(v) {
		return nil, nil
	}
	var fit task.Value
	given := s.claim(v)
	s.objects.putting++
	for again := true; again && err == nil; {
		begun := s.objects.removals
		s.mu.Unlock()
		fit, err = s.values.Fit(ctx, s.scope, *v, true)
		s.mu.Lock()
		if err == nil {
			again, err = s.removedSince(ctx, begun, &fit)
		}
	}
	if s.objects.putting--; s.objects.putting == 0 {
		clear(s.objects.removed)
	}
	claimed = s.claim(&fit)
	s.drop(given)
	*v = fit
	return claimed, err
}

// removedSince reports whether an object of the value was removed while it was put: the store may have had it when
// it was looked for. It waits for a removal that has begun. mu is held, and given up while waiting.
func (s *Session) removedSince(ctx context.Context, begun uint64, v *task.Value) (removed bool, err error) {
	var wait <-chan struct{}
	v.Objects(func(o *task.Object) bool {
		if s.objects.removing.keys[values.KeyOf(o)] {
			wait = s.objects.removing.over
		}
		removed = s.objects.removed[values.KeyOf(o)] > begun || wait != nil
		return !removed
	})
	if wait != nil {
		s.mu.Unlock()
		defer s.mu.Lock()
		select {
		case <-wait:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	return removed, err
}

// withRefs returns the value with those of the handles, which have ended well. mu is held if they are a session's.
func withRefs(v task.Value, refs []*Handle) task.Value {
	if len(refs) == 0 {
		return v
	}
	far := &task.External{Object: v.Object(), Refs: make([]task.Value, len(refs))}
	for i, r := range refs {
		far.Refs[i] = r.content
	}
	v.External = far
	return v
}

// becauseOf returns the failure of what refers to a value that failed.
func becauseOf(err error, index int) error {
	if f, ok := errors.AsType[*task.Failure](err); ok {
		return task.Because(f)
	}
	return fmt.Errorf("reference %d: %w", index, err)
}

var errOtherSession = errors.New("a Ref of another session means nothing here")

// owns returns an error unless the handle is the session's, or nobody's.
func (s *Session) owns(h *Handle) error {
	if h.s != nil && h.s != s {
		return errOtherSession
	}
	return nil
}
