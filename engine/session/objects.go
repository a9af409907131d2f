package session

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/tidemill/tidemill/engine/graph"
	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/engine/values"
	"github.com/tidemill/tidemill/internal/wait"
	"github.com/tidemill/tidemill/objstore"
)

// objectSet counts who holds the objects of the session's scope: handles whose values have them, open tasks whose inputs
// have them, whoever is just putting a value, and in a named job the log, since the next run will look for its results.
// The keeper removes what nobody holds any more; what is left when the session ends goes with its scope.
//
// mu guards it, and is taken after Session.mu. Garbage collector cleanups append to dropped, which has a lock of its own.
type objectSet struct {
	store   values.Store
	scope   string      // fixed once the session is connected; other scopes' objects are theirs to remove
	keeper  wait.Signal // set when there is something to remove
	dropped *droppedKeys

	mu       sync.Mutex
	holds    graph.Holds[objstore.Key]
	acquired map[objstore.Key]int // how often each is acquired and not released
	free     []objstore.Key       // to be removed, unless somebody holds them by then

	putting  int                     // values that are being put
	removals uint64                  // that have ended
	removed  map[objstore.Key]uint64 // by which of them, while something is being put
	removing removal                 // the one under way
}

// objectKeys are objects that somebody has acquired and will release.
type objectKeys = []objstore.Key

// removal is a removal that is under way; the zero value is none.
type removal struct {
	keys map[objstore.Key]bool
	done chan struct{} // closed when it has ended
}

// The holders of objects.
var (
	bySession = graph.Process{ID: 1}
	byLog     = graph.Process{ID: 2}
)

// droppedKeys collects the objects of handles that the garbage collector has found. Its cleanups do no more than append, since
// they run outside of a bubble of virtual time; the keeper looks when it next works, and soon while a put may wait for room.
type droppedKeys struct {
	mu   sync.Mutex
	keys objectKeys // guarded by mu
}

func (d *droppedKeys) add(keys objectKeys) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys = append(d.keys, keys...)
}

func (d *droppedKeys) any() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.keys) > 0
}

func (d *droppedKeys) take() (keys objectKeys) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys, d.keys = d.keys, nil
	return keys
}

// acquire holds the objects of a value for somebody in this session, who is to release them.
func (o *objectSet) acquire(v *task.Value) objectKeys {
	if v.External == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.acquireLocked(v)
}

func (o *objectSet) acquireLocked(v *task.Value) (keys objectKeys) {
	v.Objects(func(object *task.Object) bool {
		if key := values.KeyOf(object); key.Scope == o.scope {
			keys = append(keys, key)
		}
		return true
	})
	if len(keys) > 0 && o.acquired == nil {
		o.acquired = map[objstore.Key]int{}
	}
	for _, key := range keys {
		if o.acquired[key]++; o.acquired[key] == 1 {
			o.holds.Hold(bySession, key)
		}
	}
	return keys
}

// release ends what acquire began.
func (o *objectSet) release(keys objectKeys) {
	if len(keys) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.releaseLocked(keys)
}

func (o *objectSet) releaseLocked(keys objectKeys) {
	for _, key := range keys {
		if o.acquired[key]--; o.acquired[key] > 0 {
			continue
		}
		delete(o.acquired, key)
		o.free = o.holds.Drop(bySession, o.free, key)
	}
	o.wakeKeeper()
}

func (o *objectSet) wakeKeeper() {
	if len(o.free) > 0 {
		o.keeper.Set()
	}
}

// holdInput has an open task hold objects that were put for its input alone.
func (o *objectSet) holdInput(number uint64, keys objectKeys) {
	if len(keys) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.holds.Submit(bySession, graph.Needs[objstore.Key]{Task: number, Args: keys})
}

// releaseInput ends what holdInput began.
func (o *objectSet) releaseInput(number uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, o.free = o.holds.Done(bySession, number, graph.Leaves[objstore.Key]{}, o.free)
	o.wakeKeeper()
}

// holdByLog has the log of a named job hold the objects of a result, so that its next run finds them.
func (o *objectSet) holdByLog(v *task.Value) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v.Objects(func(object *task.Object) bool {
		o.holds.Hold(byLog, values.KeyOf(object))
		return true
	})
}

// removeUnheld removes the objects of a value that nobody wants, but for those that are held.
func (o *objectSet) removeUnheld(v *task.Value) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v.Objects(func(object *task.Object) bool {
		if key := values.KeyOf(object); key.Scope == o.scope && !o.holds.Held(key) {
			o.free = append(o.free, key)
		}
		return true
	})
	o.wakeKeeper()
}

// externalize makes the value such that it fits into messages: what is too large of it is put into the store. held are the
// value's objects, which it releases. Those of the new value are acquired for the caller, also on an error: what was put
// is removed when the caller releases it and nobody else holds it.
func (o *objectSet) externalize(ctx context.Context, v *task.Value, held objectKeys) (acquired objectKeys, err error) {
	if values.IsSmall(v) {
		o.release(held)
		return nil, nil
	}
	fit := *v
	defer o.lookForGarbage().Stop()
	for began, again := o.beginPut(), true; again; {
		fit, err = o.store.Fit(ctx, o.scope, *v, true)
		if acquired, again = o.put(&fit, err != nil, &began); again {
			if err = o.awaitRemoval(ctx); err != nil {
				acquired, again = o.put(&fit, true, &began)
			}
		}
	}
	o.release(held)
	*v = fit
	return acquired, err
}

// slowPut is how long a put takes that may wait for room.
const slowPut = 20 * time.Millisecond

// lookForGarbage wakes the keeper, until it is stopped, when the collector has found objects: a put may wait for their room.
func (o *objectSet) lookForGarbage() *time.Timer {
	var t *time.Timer
	t = time.AfterFunc(time.Hour, func() {
		if o.dropped.any() {
			o.keeper.Set()
		}
		t.Reset(slowPut)
	})
	t.Reset(slowPut) // it may fire from now on, when t is set
	return t
}

// beginPut notes that a value is being put. It returns which removals have ended before.
func (o *objectSet) beginPut() (removals uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.putting++
	return o.removals
}

// put acquires the objects of a value that was put. again is true if one of them was removed since began, or is being
// removed: the store may have had it when it was looked for, so that the value is to be put again. failed says that it
// will not be, whatever was removed.
func (o *objectSet) put(v *task.Value, failed bool, began *uint64) (acquired objectKeys, again bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v.Objects(func(object *task.Object) bool {
		key := values.KeyOf(object)
		again = o.removing.keys[key] || o.removed[key] > *began
		return !again
	})
	if again && !failed {
		*began = o.removals
		if o.removing.done != nil { // it has ended before the value is put again
			*began++
		}
		return nil, true
	}
	if o.putting--; o.putting == 0 {
		clear(o.removed)
	}
	return o.acquireLocked(v), false
}

// awaitRemoval waits for the removal that is under way, if there is one.
func (o *objectSet) awaitRemoval(ctx context.Context) error {
	o.mu.Lock()
	done := o.removing.done
	o.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// removeFree removes what nobody holds any more, one object after the other: what is removed need not be removed again,
// however little time there is, and one that cannot be removed keeps none of the others. It returns the first error.
func (o *objectSet) removeFree(ctx context.Context) error {
	keys := o.beginRemoval()
	if len(keys) == 0 {
		return nil
	}
	left, err := doEach(ctx, keys, func(key objstore.Key) error { return o.store.Objects.Remove(ctx, key) })
	o.endRemoval(left)
	return err
}

// beginRemoval returns what is to be removed. Whoever puts one of these objects now waits until they are.
func (o *objectSet) beginRemoval() objectKeys {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.releaseLocked(o.dropped.take())
	free := o.free
	o.free = nil
	keys := free[:0]
	for _, key := range free {
		if !o.holds.Held(key) && key.Scope == o.scope { // the same content may have been put again
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 || o.store.Objects == nil {
		return nil
	}
	o.removing = removal{make(map[objstore.Key]bool, len(keys)), make(chan struct{})}
	for _, key := range keys {
		o.removing.keys[key] = true
	}
	return keys
}

// endRemoval ends the removal. What could not be removed is left to be removed later.
func (o *objectSet) endRemoval(left objectKeys) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.removals++
	if o.putting > 0 && o.removed == nil {
		o.removed = map[objstore.Key]uint64{}
	}
	for key := range o.removing.keys {
		if o.putting > 0 {
			o.removed[key] = o.removals
		}
	}
	close(o.removing.done)
	o.removing = removal{}
	o.free = append(o.free, left...)
}

// holdObjects has the handle hold the objects of its value. Session.mu is held.
func (h *Handle) holdObjects() {
	keys := h.s.objects.acquire(&h.content)
	if len(keys) == 0 {
		return
	}
	x := h.extras()
	x.keys = keys
	x.cleanup = runtime.AddCleanup(h, h.s.objects.dropped.add, keys)
}

// releaseObjects releases what holdObjects has acquired. Session.mu is held.
func (h *Handle) releaseObjects() {
	if h.extra == nil || len(h.extra.keys) == 0 {
		return
	}
	h.extra.cleanup.Stop()
	h.s.objects.release(h.extra.keys)
	h.extra.keys = nil
}

// inputObjects returns the objects that were put for the task's input alone. Session.mu is held.
func (h *Handle) inputObjects() (keys objectKeys) {
	if o := h.content.Object(); o != nil {
		keys = append(keys, values.KeyOf(o))
	}
	if h.extra != nil && h.extra.loaded != nil {
		if o := h.extra.loaded.Object(); o != nil {
			keys = append(keys, values.KeyOf(o))
		}
	}
	return keys
}

// holdsInput reports whether an open task may hold objects for its input. Session.mu is held.
func (h *Handle) holdsInput() bool {
	return h.content.External != nil || h.extra != nil && h.extra.loaded != nil
}

// disown removes the objects of a result that is not its task's outcome. Those in the log of a named job stay, whatever
// they are, until the job ends.
func (s *Session) disown(e *task.Entry) {
	if s.resume != nil || e.State != task.OK || !e.Value.HasObjects() {
		return
	}
	v := e.Value.Clone()
	s.objects.removeUnheld(&v)
}
