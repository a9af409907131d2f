package engine

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// A value of a type with Refs in it is encoded in two parts: the value itself, in which each Ref is a number, and
// the list of what the numbers stand for. A plan says where in values of a type the Refs are; it is made once, and
// is nil for most types.
type plan struct {
	kind   planKind
	fields []fieldPlan // of a struct: those with Refs in them
	elem   *plan       // of slices, arrays, maps and pointers
}

type planKind uint8

const (
	planRef planKind = iota
	planPart
	planStruct
	planList
	planMap
	planPointer
)

type fieldPlan struct {
	index int
	plan  *plan
}

// reference is what every *Ref[T] is.
type reference interface {
	handle() *session.Handle
	setHandle(h *session.Handle)
}

// planOf makes the plan of a type, nil if its values have no Refs.
func planOf(t reflect.Type) *plan { return (&planner{made: map[reflect.Type]*plan{}}).plan(t) }

// planner makes plans, of types that hold themselves too.
type planner struct{ made map[reflect.Type]*plan }

func (b *planner) plan(t reflect.Type) *plan {
	if p, ok := b.made[t]; ok {
		return p
	}
	if !refers(t, map[reflect.Type]bool{}) {
		b.made[t] = nil
		return nil
	}
	p := &plan{}
	b.made[t] = p
	switch {
	case isRef(t):
		p.kind = planRef
	case partOf(t) != nil:
		p.kind = planPart
	case t.Kind() == reflect.Struct:
		p.kind = planStruct
		for i := range t.NumField() {
			if _, encoded := encodedName(t.Field(i)); !encoded || !t.Field(i).IsExported() && !t.Field(i).Anonymous {
				continue
			}
			if inner := b.plan(t.Field(i).Type); inner != nil {
				p.fields = append(p.fields, fieldPlan{i, inner})
			}
		}
	default:
		kinds := map[reflect.Kind]planKind{reflect.Slice: planList, reflect.Array: planList, reflect.Map: planMap, reflect.Pointer: planPointer}
		p.kind, p.elem = kinds[t.Kind()], b.plan(t.Elem())
	}
	return p
}

// refers reports whether values of the type can have Refs in them.
func refers(t reflect.Type, seen map[reflect.Type]bool) bool {
	if isRef(t) || partOf(t) != nil {
		return true
	}
	if seen[t] || t.Kind() != reflect.Interface && encodesItself(t) {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer:
		return refers(t.Elem(), seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if _, encoded := encodedName(f); encoded && refers(f.Type, seen) {
				return true
			}
		}
	default: // holds nothing
	}
	return false
}

// parts are what the numbers in an encoded value stand for.
type parts struct {
	handles []*session.Handle
	index   map[*session.Handle]int // of all, once there are more than few
}

// few handles are looked through.
const few = 8

func (p *parts) add(h *session.Handle) int {
	if i := p.find(h); i >= 0 {
		return i
	}
	i := len(p.handles)
	if p.handles == nil {
		p.handles = make([]*session.Handle, 0, few/2)
	}
	p.handles = append(p.handles, h)
	switch {
	case i == few:
		p.index = make(map[*session.Handle]int, 2*few)
		for j, h := range p.handles {
			p.index[h] = j
		}
	case i > few:
		p.index[h] = i
	}
	return i
}

// find returns the handle's place, -1 if it has none.
func (p *parts) find(h *session.Handle) int {
	if p.index == nil {
		return slices.Index(p.handles, h)
	}
	if i, ok := p.index[h]; ok {
		return i
	}
	return -1
}

// lift puts a hole in the place of each Ref, and adds what the holes stand for to parts. place is a copy that may
// be changed, though not what it shares with others: slices, maps and what is behind pointers are copied.
func (p *plan) lift(place reflect.Value, to *parts) error {
	switch p.kind {
	case planRef:
		return liftRef(place, to)
	case planPart:
		return liftPart(place, to)
	case planStruct:
		for _, f := range p.fields {
			if err := f.plan.lift(place.Field(f.index), to); err != nil {
				return err
			}
		}
	case planList:
		if place.Kind() == reflect.Slice && !place.IsNil() {
			own := reflect.MakeSlice(place.Type(), place.Len(), place.Len())
			reflect.Copy(own, place)
			place.Set(own)
		}
		for i := range place.Len() {
			if err := p.elem.lift(place.Index(i), to); err != nil {
				return err
			}
		}
	case planMap:
		return p.liftMap(place, to)
	case planPointer:
		if !place.IsNil() {
			own := copyOf(place.Elem())
			place.Set(own.Addr())
			return p.elem.lift(own, to)
		}
	}
	return nil
}

// copyOf returns a copy that can be changed.
func copyOf(v reflect.Value) reflect.Value {
	own := reflect.New(v.Type()).Elem()
	own.Set(v)
	return own
}

func liftRef(place reflect.Value, to *parts) error {
	r := place.Addr().Interface().(reference) //nolint:forcetypeassert // the plan says so
	if h := r.handle(); h != nil {
		r.setHandle(session.Hole(to.add(h)))
	} else {
		r.setHandle(session.Hole(noPart))
	}
	return nil
}

// noPart is the number of a Ref that refers to nothing.
const noPart = task.MaxRefs

// liftMap lifts the values of a map, in the order of its keys' encodings, so that equal maps are encoded alike.
func (p *plan) liftMap(place reflect.Value, to *parts) error {
	if place.IsNil() {
		return nil
	}
	keys, err := sortedKeys(place)
	if err != nil {
		return err
	}
	own := reflect.MakeMapWithSize(place.Type(), place.Len())
	for _, k := range keys {
		there := place.MapIndex(k)
		if !there.IsValid() { // a NaN, or something with one in it
			return fmt.Errorf("a key of a %s is not equal to itself", place.Type())
		}
		e := copyOf(there)
		if err := p.elem.lift(e, to); err != nil {
			return err
		}
		own.SetMapIndex(k, e)
	}
	place.Set(own)
	return nil
}

// fill puts what the holes stand for into their places. place is addressable.
func (p *plan) fill(place reflect.Value, from *filler) error {
	switch p.kind {
	case planRef:
		return fillRef(place, from)
	case planPart:
		return fillPart(place, from)
	case planStruct:
		for _, f := range p.fields {
			if err := f.plan.fill(place.Field(f.index), from); err != nil {
				return err
			}
		}
	case planList:
		for i := range place.Len() {
			if err := p.elem.fill(place.Index(i), from); err != nil {
				return err
			}
		}
	case planMap:
		return p.fillMap(place, from)
	case planPointer:
		if !place.IsNil() {
			return p.elem.fill(place.Elem(), from)
		}
	}
	return nil
}

// fillMap fills the values of a map.
func (p *plan) fillMap(place reflect.Value, from *filler) error {
	if place.IsNil() {
		return nil
	}
	own := reflect.MakeMapWithSize(place.Type(), place.Len())
	for k, e := range place.Seq2() {
		filled := copyOf(e)
		if err := p.elem.fill(filled, from); err != nil {
			return err
		}
		own.SetMapIndex(k, filled)
	}
	place.Set(own)
	return nil
}

// inside knows what references in a value stand for: those of a handle's value, or those that came with a task.
type inside struct {
	of   *session.Handle // nil in a task
	refs []*session.Handle
}

// filler fills the holes of one value.
type filler struct {
	value *task.Value
	inside
}

// part returns the value that a hole stands for.
func (f *filler) part(index int) (*task.Value, error) {
	if index < 0 || index >= len(f.value.Refs()) {
		return nil, fmt.Errorf("part %d of %d", index, len(f.value.Refs()))
	}
	return &f.value.External.Refs[index], nil
}

// ref returns the handle that a hole stands for.
func (f *filler) ref(index int) (*session.Handle, error) {
	if index >= len(f.value.Refs()) {
		return nil, fmt.Errorf("reference %d of %d", index, len(f.value.Refs()))
	}
	if f.of != nil {
		return f.of.Ref(f.value, index), nil
	}
	return f.refs[index], nil
}

func fillRef(place reflect.Value, from *filler) error {
	r := place.Addr().Interface().(reference) //nolint:forcetypeassert // the plan says so
	index, hole := r.handle().Hole()
	switch {
	case !hole:
		return nil // there was none: the zero Ref
	case index == noPart:
		r.setHandle(nil)
		return nil
	}
	h, err := from.ref(index)
	r.setHandle(h)
	return err
}
