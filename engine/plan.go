package engine

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// A value that contains Refs or Arrow data is encoded in two parts: the value itself, in which a placeholder with an
// index stands for each of them, and a list of what the indexes stand for. A plan says where in the values of a type
// they can be. It is made once for each type, and is nil for a type that cannot contain any.
type plan struct {
	kind   planKind
	fields []fieldPlan // for a struct: the fields that can contain Refs or Arrow data
	elem   *plan       // for a slice, array, map or pointer: the plan of its elements
	key    *plan       // for a map: the plan of its keys
}

type planKind uint8

const (
	planRef planKind = iota
	planArrow
	planStruct
	planList
	planMap
	planPointer
	planTime
)

// A leaf function says which types a plan is to find.
type leaf func(reflect.Type) (planKind, bool)

// dataLeaf finds Refs and Arrow data.
func dataLeaf(t reflect.Type) (planKind, bool) {
	switch {
	case isRef(t):
		return planRef, true
	case arrowFormOf(t) != nil:
		return planArrow, true
	}
	return 0, false
}

// timeLeaf finds times.
func timeLeaf(t reflect.Type) (planKind, bool) { return planTime, t == timeType }

type fieldPlan struct {
	index int
	plan  *plan
}

// reference is implemented by *Ref[T], for every T.
type reference interface {
	handle() *session.Handle
	setHandle(h *session.Handle)
}

// planOf returns the plan that finds the leaves in the values of a type, nil if there can be none.
func planOf(t reflect.Type, find leaf) *plan {
	return (&planner{find: find, made: map[reflect.Type]*plan{}}).plan(t)
}

// planner makes plans. It handles recursive types: made has a plan before the plan is complete.
type planner struct {
	find leaf
	made map[reflect.Type]*plan
}

func (b *planner) plan(t reflect.Type) *plan {
	if p, ok := b.made[t]; ok {
		return p
	}
	if !refers(t, b.find, map[reflect.Type]bool{}) {
		b.made[t] = nil
		return nil
	}
	p := &plan{}
	b.made[t] = p
	kind, found := b.find(t)
	switch {
	case found:
		p.kind = kind
	case t.Kind() == reflect.Struct:
		p.kind = planStruct
		for i := range t.NumField() {
			if !planned(t.Field(i)) {
				continue
			}
			if field := b.plan(t.Field(i).Type); field != nil {
				p.fields = append(p.fields, fieldPlan{i, field})
			}
		}
	default:
		kinds := map[reflect.Kind]planKind{reflect.Slice: planList, reflect.Array: planList, reflect.Map: planMap, reflect.Pointer: planPointer}
		p.kind, p.elem = kinds[t.Kind()], b.plan(t.Elem())
		if t.Kind() == reflect.Map {
			p.key = b.plan(t.Key())
		}
	}
	return p
}

// planned reports whether the field is encoded.
func planned(f reflect.StructField) bool {
	_, excluded, why := tagOf(f)
	return !excluded && why == "" && (f.IsExported() || f.Anonymous)
}

// refers reports whether values of the type can contain leaves.
func refers(t reflect.Type, find leaf, seen map[reflect.Type]bool) bool {
	if _, found := find(t); found {
		return true
	}
	if seen[t] || encodesItself(t) {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Map:
		return refers(t.Key(), find, seen) || refers(t.Elem(), find, seen)
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return refers(t.Elem(), find, seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if planned(f) && refers(f.Type, find, seen) {
				return true
			}
		}
	default: // contains no other type
	}
	return false
}

// refTable collects what the placeholders in an encoded value stand for. A handle has one index, however often the
// value contains it.
type refTable struct {
	handles []*session.Handle
	index   map[*session.Handle]int // index of each handle; nil for up to maxLinear handles
}

// maxLinear is up to how many handles a refTable finds by a linear search.
const maxLinear = 8

var errTooManyRefs = fmt.Errorf("%w: the value has more than %d different Refs: put parts of it, and refer to those", task.ErrTooLarge, task.MaxRefs)

// add returns the index of the handle, which is added if it is new. The error is errTooManyRefs.
func (t *refTable) add(h *session.Handle) (int, error) {
	if i := t.find(h); i >= 0 {
		return i, nil
	}
	i := len(t.handles)
	if i >= task.MaxRefs {
		return 0, errTooManyRefs
	}
	if t.handles == nil {
		t.handles = make([]*session.Handle, 0, maxLinear/2)
	}
	t.handles = append(t.handles, h)
	switch {
	case i == maxLinear:
		t.index = make(map[*session.Handle]int, 2*maxLinear)
		for j, h := range t.handles {
			t.index[h] = j
		}
	case i > maxLinear:
		t.index[h] = i
	}
	return i, nil
}

// find returns the index of the handle, -1 if the table does not have it.
func (t *refTable) find(h *session.Handle) int {
	if t.index == nil {
		return slices.Index(t.handles, h)
	}
	if i, ok := t.index[h]; ok {
		return i
	}
	return -1
}

// extract replaces each Ref and all Arrow data in the value at by a placeholder, and adds what the placeholders stand for
// to the table. at may be changed, but the memory that it shares with the caller's value may not: slices, maps and the
// targets of pointers are copied first.
func (p *plan) extract(at reflect.Value, to *refTable) error {
	switch p.kind {
	case planRef:
		return extractRef(at, to)
	case planArrow:
		return extractArrow(at, to)
	case planTime:
		t := at.Addr().Interface().(*time.Time) //nolint:forcetypeassert // planTime is for times alone
		*t = inWholeMinutes(*t)
	case planStruct:
		for _, f := range p.fields {
			if err := f.plan.extract(at.Field(f.index), to); err != nil {
				return err
			}
		}
	case planList:
		if at.Kind() == reflect.Slice && !at.IsNil() {
			own := reflect.MakeSlice(at.Type(), at.Len(), at.Len())
			reflect.Copy(own, at)
			at.Set(own)
		}
		for i := range at.Len() {
			if err := p.elem.extract(at.Index(i), to); err != nil {
				return err
			}
		}
	case planMap:
		return p.extractMap(at, to)
	case planPointer:
		if !at.IsNil() {
			own := copyOf(at.Elem())
			at.Set(own.Addr())
			return p.elem.extract(own, to)
		}
	}
	return nil
}

// copyOf returns an addressable copy.
func copyOf(v reflect.Value) reflect.Value {
	own := reflect.New(v.Type()).Elem()
	own.Set(v)
	return own
}

func extractRef(at reflect.Value, to *refTable) error {
	r := at.Addr().Interface().(reference) //nolint:forcetypeassert // planRef is for Refs alone
	index := nilRef
	if h := r.handle(); h != nil {
		var err error
		if index, err = to.add(h); err != nil {
			return err
		}
	}
	r.setHandle(session.Hole(index))
	return nil
}

// nilRef is the index of the zero Ref.
const nilRef = task.MaxRefs

// extractMap extracts from the values of a map, in the order of the encoded keys, so that equal maps have equal
// encodings.
func (p *plan) extractMap(at reflect.Value, to *refTable) error {
	if at.IsNil() {
		return nil
	}
	keys, err := sortedKeys(at)
	if err != nil {
		return err
	}
	own := reflect.MakeMapWithSize(at.Type(), at.Len())
	for _, k := range keys {
		found := at.MapIndex(k)
		if !found.IsValid() { // the key is a NaN, or contains one
			return errNaN(at.Type())
		}
		key, e := copyOf(k), copyOf(found)
		if p.key != nil {
			err = p.key.extract(key, to)
		}
		if err == nil && p.elem != nil {
			err = p.elem.extract(e, to)
		}
		if err != nil {
			return err
		}
		own.SetMapIndex(key, e)
	}
	at.Set(own)
	return nil
}

// restore replaces each placeholder in the value at by what it stands for. at must be addressable.
func (p *plan) restore(at reflect.Value, from *restorer) error {
	switch p.kind {
	case planRef:
		return restoreRef(at, from)
	case planArrow:
		return restoreArrow(at, from)
	case planStruct:
		for _, f := range p.fields {
			if err := f.plan.restore(at.Field(f.index), from); err != nil {
				return err
			}
		}
	case planList:
		for i := range at.Len() {
			if err := p.elem.restore(at.Index(i), from); err != nil {
				return err
			}
		}
	case planMap:
		return p.restoreMap(at, from)
	case planPointer:
		if !at.IsNil() {
			return p.elem.restore(at.Elem(), from)
		}
	default: // a time has no placeholder
	}
	return nil
}

// restoreMap restores the values of a map.
func (p *plan) restoreMap(at reflect.Value, from *restorer) error {
	if at.IsNil() {
		return nil
	}
	own := reflect.MakeMapWithSize(at.Type(), at.Len())
	for k, e := range at.Seq2() {
		restored := copyOf(e)
		if err := p.elem.restore(restored, from); err != nil {
			return err
		}
		own.SetMapIndex(k, restored)
	}
	at.Set(own)
	return nil
}

// refSource has the handles of the references in a value: in a result or a Put value, those of its handle; in the input
// of a task, those in refs.
type refSource struct {
	handle *session.Handle   // whose value it is; nil for the input of a task
	refs   []*session.Handle // for the input of a task, by index
}

// restorer replaces the placeholders in one value.
type restorer struct {
	value *task.Value
	refSource
}

// valueAt returns the value that a placeholder of Arrow data stands for.
func (f *restorer) valueAt(index int) (*task.Value, error) {
	if index < 0 || index >= len(f.value.Refs()) {
		return nil, fmt.Errorf("the value has a placeholder for Arrow data with index %d, and %d references: it is damaged", index, len(f.value.Refs()))
	}
	return &f.value.External.Refs[index], nil
}

// ref returns the handle that the placeholder of a Ref stands for. UnmarshalCBOR has refused negative indexes.
func (f *restorer) ref(index int) (*session.Handle, error) {
	if index >= len(f.value.Refs()) {
		return nil, fmt.Errorf("the value has a placeholder for a Ref with index %d, and %d references: it is damaged", index, len(f.value.Refs()))
	}
	if f.handle != nil {
		return f.handle.Ref(f.value, index), nil
	}
	return f.refs[index], nil
}

func restoreRef(at reflect.Value, from *restorer) error {
	r := at.Addr().Interface().(reference) //nolint:forcetypeassert // planRef is for Refs alone
	index, ok := r.handle().Hole()
	switch {
	case !ok:
		return nil // the encoded value had no Ref here: it stays the zero Ref
	case index == nilRef:
		r.setHandle(nil)
		return nil
	}
	h, err := from.ref(index)
	r.setHandle(h)
	return err
}
