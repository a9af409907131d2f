package engine

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/task"
)

// Types that are difficult to encode. Those in refusedTypes lose something, the others do not.
type (
	colour  int // encodes itself only
	lenient string
	stamp   struct{ time.Time }
	event   struct {
		time.Time
		Name string
	} //nolint:gofmt // one line each
	link  struct{ *url.URL }
	twice struct { // both embedded types have the methods, so that neither pair is promoted
		time.Time
		netip.Addr
	}
	titled struct { // has methods of its own
		time.Time
		Title string
	}
	person  struct{ ID, Name string }
	shadows struct {
		person
		ID int
	}
	tagged struct {
		person
		ID int `cbor:"n"`
	}
	optional struct {
		*Base
		Name string
	}
	mayVanish struct {
		*Vanishing
		Name string
	}
	Vanishing struct {
		A int `cbor:",omitempty"`
	}
	asArray struct {
		_ struct{} `cbor:",toarray"`
		A []int
		B *int
	}
	inArray struct {
		_ struct{} `cbor:",toarray"`
		*Base
	}
	byNumber struct {
		A int    `cbor:"1,keyasint"`
		B string `cbor:"-1,keyasint"`
	}
	omits struct {
		Slice []int          `json:"slice,omitempty"`
		Map   map[string]int `json:"map,omitempty"`
		Bytes []byte         `json:",omitempty"`
		Zero  custom         `json:"zero,omitzero"`
		Time  time.Time      `json:",omitzero"`
		Ptr   *int           `json:",omitempty"`
	}
	custom struct{ N int }
	node   struct {
		Left, Right *node
		Kids        []node
		ByName      map[string]*node
		Marks       map[pair]int
	}
	pair struct{ A, B *node }
)

func (c colour) MarshalText() ([]byte, error)    { return []byte{byte(c)}, nil }
func (l *lenient) UnmarshalText([]byte) error    { *l = "read"; return nil }
func (c custom) IsZero() bool                    { return c.N < 3 }
func (t titled) MarshalBinary() ([]byte, error)  { return []byte(t.Title), nil }
func (t *titled) UnmarshalBinary(b []byte) error { t.Title = string(b); return nil }

var leaves = append([]reflect.Type{
	reflect.TypeFor[colour](), reflect.TypeFor[lenient](), reflect.TypeFor[stamp](), reflect.TypeFor[event](), reflect.TypeFor[link](),
	reflect.TypeFor[twice](), reflect.TypeFor[person](), reflect.TypeFor[shadows](), reflect.TypeFor[tagged](), reflect.TypeFor[optional](),
	reflect.TypeFor[mayVanish](), reflect.TypeFor[asArray](), reflect.TypeFor[inArray](), reflect.TypeFor[byNumber](), reflect.TypeFor[omits](),
	reflect.TypeFor[custom](), reflect.TypeFor[node](), reflect.TypeFor[[]time.Time](), reflect.TypeFor[*time.Time](), reflect.TypeFor[*[]int](),
	reflect.TypeFor[*map[string]int](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[big.Float](), reflect.TypeFor[big.Rat](),
	reflect.TypeFor[any](), reflect.TypeFor[chan int](), reflect.TypeFor[complex64](), reflect.TypeFor[struct{}](), reflect.TypeFor[*int](),
}, basic...)

// anyType returns a random type. Most are refused, if depth is great.
func (m maker) anyType(depth int) reflect.Type {
	if depth == 0 {
		return leaves[m.IntN(len(leaves))]
	}
	switch m.IntN(6) {
	case 0:
		return reflect.SliceOf(m.anyType(depth - 1))
	case 1:
		if key := m.anyType(m.IntN(depth)); key.Comparable() {
			return reflect.MapOf(key, m.anyType(depth-1))
		}
	case 2:
		return reflect.PointerTo(m.anyType(depth - 1))
	case 3:
		return reflect.ArrayOf(m.IntN(3), m.anyType(depth-1))
	case 4:
		var fields []reflect.StructField
		tags := []reflect.StructTag{"", "", "", `json:"-"`, `json:",omitempty"`, `json:",omitzero"`, `cbor:"A"`, `cbor:"7,keyasint"`, `cbor:"" json:"n"`}
		for i := range 1 + m.IntN(3) {
			fields = append(fields, reflect.StructField{Name: string(rune('A' + i)), Type: m.anyType(depth - 1), Tag: tags[m.IntN(len(tags))]})
		}
		return reflect.StructOf(fields)
	}
	return m.anyType(0)
}

// fillAny sets v to a random value. Values are often zero or empty, and times are in any zone.
func (m maker) fillAny(v reflect.Value, depth int) {
	if m.IntN(4) == 0 || depth > 8 {
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		zone := []*time.Location{time.UTC, time.Local, time.FixedZone("", m.IntN(7200)-3600), time.FixedZone("x", 60*m.IntN(1000))}[m.IntN(4)]
		*x = time.Unix(m.Int64N(4e9)-2e9, m.Int64N(1e9)).In(zone)
		return
	case *netip.Addr:
		*x = netip.AddrFrom4([4]byte{1, 2, 3, byte(m.IntN(3))})
		return
	case *big.Int, *big.Rat, *big.Float:
		_, _ = fmt.Sscan(fmt.Sprint(m.Int64()), x)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		m.fillAny(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), m.IntN(3), 3))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			m.fillAny(v.Index(i), depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range m.IntN(3) {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			m.fillAny(k, depth+1)
			m.fillAny(e, depth+1)
			v.SetMapIndex(k, e)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			if f.CanSet() {
				m.fillAny(f, depth+1)
			} else if f.Kind() == reflect.Struct { // embedded, with fields that can be set
				for _, inner := range f.Fields() {
					if inner.CanSet() {
						m.fillAny(inner, depth+1)
					}
				}
			}
		}
	case reflect.Float32, reflect.Float64:
		v.SetFloat([]float64{0, math.Copysign(0, -1), 1.5, math.Inf(1), math.NaN(), 1e-30}[m.IntN(6)])
	case reflect.Interface, reflect.Chan, reflect.Complex64:
	default:
		m.fill(v)
	}
}

// same reports whether two values are equal for their user: times are if they are the same instant, NaNs are.
func same(a, b reflect.Value) bool {
	switch x := a.Interface().(type) {
	case time.Time:
		return x.Equal(b.Interface().(time.Time)) //nolint:forcetypeassert // same types
	case big.Int:
		y := b.Interface().(big.Int) //nolint:forcetypeassert // same types
		return x.Cmp(&y) == 0
	case big.Rat:
		y := b.Interface().(big.Rat) //nolint:forcetypeassert // same types
		return x.Cmp(&y) == 0
	case netip.Addr:
		return a.Interface() == b.Interface()
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() || a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		return a.IsNil() == b.IsNil() && a.Len() == b.Len() && sameEntries(a, b)
	case reflect.Struct:
		for i := range a.NumField() {
			f, g := a.Field(i), b.Field(i)
			if !f.CanInterface() {
				f, g = exported(a, i), exported(b, i)
			}
			if !same(f, g) {
				return false
			}
		}
		return true
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	default:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
}

// exported returns field i, which is not exported, such that its value can be read.
func exported(v reflect.Value, i int) reflect.Value {
	p := copyOf(v)
	return reflect.NewAt(p.Field(i).Type(), p.Field(i).Addr().UnsafePointer()).Elem()
}

func sameEntries(a, b reflect.Value) bool {
	for k, e := range a.Seq2() {
		found := false
		for l, f := range b.Seq2() {
			found = found || same(k, l) && same(e, f)
		}
		if !found {
			return false
		}
	}
	return true
}

// A value of any type arrives as it was sent, or the type or the value is refused: nothing changes in silence.
func TestEqualOrRefused(t *testing.T) {
	shapes := map[string]int{}
	for seed := range uint64(20_000) {
		m := maker{rand.New(rand.NewPCG(seed, 6))}
		typ := m.anyType(m.IntN(4))
		s := newShape(typ)
		if s.err != nil {
			shapes["type refused"]++
			continue
		}
		for range 4 {
			want := reflect.New(typ).Elem()
			m.fillAny(want, 0)
			sent := copyOf(want)
			if err := checkValue(s.form, s.times, sent); err != nil {
				shapes["value refused"]++
				continue
			}
			data, err := appendCBOR(nil, sent.Interface())
			if err != nil {
				shapes["not encoded"]++
				continue
			}
			got := reflect.New(typ)
			if err := s.form.fits(data); err != nil {
				t.Fatalf("seed %d: a %s does not fit its own encoding: %v\n%x", seed, typ, err, data)
			}
			if err := decoder.Unmarshal(data, got.Interface()); err != nil {
				t.Fatalf("seed %d: decode a %s: %v", seed, typ, err)
			}
			if !same(want, got.Elem()) {
				t.Fatalf("seed %d: %s:\ngot  %#v\nwant %#v", seed, typ, got.Elem(), want)
			}
			shapes["equal"]++
		}
	}
	t.Log(shapes)
	for _, outcome := range []string{"equal", "type refused", "value refused"} {
		if shapes[outcome] < 500 {
			t.Errorf("%s: got %d cases, want at least 500", outcome, shapes[outcome])
		}
	}
}

// A type that would lose something is refused with the path of the field and the reason.
func TestRefusedTypes(t *testing.T) {
	for want, typ := range map[string]reflect.Type{
		"Of[].Coat: engine.colour has a method MarshalText and no UnmarshalText":   reflect.TypeFor[generic[struct{ Coat colour }]](),
		"Litres[key]: engine.colour has a method MarshalText":                      reflect.TypeFor[struct{ Litres map[colour]int }](),
		"Name: engine.lenient has a method UnmarshalText and no MarshalText":       reflect.TypeFor[struct{ Name lenient }](),
		"At: the methods MarshalBinary and UnmarshalBinary of an embedded type":    reflect.TypeFor[struct{ At event }](),
		"the methods MarshalBinary and UnmarshalBinary of an embedded type encode": reflect.TypeFor[link](),
		"X.Time: an embedded type with an encoding of its own":                     reflect.TypeFor[struct{ X twice }](),
		"S.ID: is encoded under the name \"ID\", and so is person.ID":              reflect.TypeFor[struct{ S shadows }](),
		"Vanishing: an embedded pointer without a field that is always encoded":    reflect.TypeFor[mayVanish](),
		"Base: an embedded pointer in a struct with toarray":                       reflect.TypeFor[inArray](),
		"Token: a json:\"-\" tag leaves the field out": reflect.TypeFor[struct {
			Token string `json:"-"`
		}](),
		"F: a big.Float as text loses precision": reflect.TypeFor[struct{ F big.Float }](),
		"A: the name \"x\" is not an integer": reflect.TypeFor[struct {
			A int `cbor:"x,keyasint"`
		}](),
		"toindefarray is not supported": reflect.TypeFor[struct {
			_ struct{} `cbor:",toindefarray"`
		}](),
	} {
		if err := newShape(typ).err; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want %q in it", typ, err, want)
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[stamp](), reflect.TypeFor[titled](), reflect.TypeFor[tagged](), reflect.TypeFor[optional](), reflect.TypeFor[node]()} {
		if err := newShape(typ).err; err != nil {
			t.Errorf("%s: got error %v, want none", typ, err)
		}
	}
}

func refusal[T any](v T) error {
	_, err := codecOf[T]().encode(&task.Value{}, v)
	return err
}

// A value that would lose something, though its type is accepted, is refused with the path of the part and the reason.
func TestRefusedValues(t *testing.T) {
	loop := &node{}
	loop.Left = &node{ByName: map[string]*node{"": loop}}
	team := node{Kids: make([]node, 1)}
	team.Kids[0].Kids = team.Kids
	at := time.Unix(0, 0)
	for want, err := range map[string]error{
		"[1].Ended: a pointer to an empty time.Time arrives as nil":                 refusal([]struct{ Ended *time.Time }{{}, {new(time.Time)}}),
		"Scores: a pointer to an empty []int arrives as nil":                        refusal(struct{ Scores *[]int }{new([]int)}),
		"Slice: an empty []int that is not its zero value is left out because of o": refusal(omits{Slice: []int{}}),
		"Zero: an empty engine.custom that is not its zero value":                   refusal(omits{Zero: custom{1}}),
		"deep: does it contain a cycle?":                                            refusal(loop),
		"levels deep: does it contain a cycle":                                      refusal(team),
		"Marks[key]: a pointer in a map key loses its identity":                     refusal(node{Marks: map[pair]int{{loop, loop}: 1}}),
		"[key]: two keys of the map[time.Time]int are the same":                     refusal(map[time.Time]int{at.In(time.FixedZone("a", 60)): 1, at.In(time.FixedZone("b", 60)): 2}),
		"a method of the value, or of a part of it, panicked":                       refusal(panics{}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q in it", err, want)
		}
	}
}

type panics struct{ N int }

func (panics) MarshalCBOR() ([]byte, error)  { panic("on purpose") }
func (*panics) UnmarshalCBOR(b []byte) error { return cbor.Wellformed(b) }

// What pointers share is encoded for each of them. That is refused when it would not end.
func TestSharedPointersAreBounded(t *testing.T) {
	s := newShape(reflect.TypeFor[node]())
	shared := &node{}
	for range 60 {
		shared = &node{Left: shared, Right: shared}
	}
	c := valueCheck{parts: maxParts - 100_000}
	if err := c.check(s.form, reflect.ValueOf(shared).Elem(), 0); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("2^60 parts: got error %v, want too large", err)
	}
}

// Bytes that are the encoding of another type are refused, and the error names the field, what it has, and the type wanted.
func TestOtherTypesAreNotDecoded(t *testing.T) {
	type was struct {
		Name  string
		Score int
		At    time.Time
		Hash  [4]byte
		Parts [2]int
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"a field less":        {decodeAs[struct{ Name string }](was{}), `got a field "`},
		"a field more":        {decodeAs[struct{ Name, Nick string }](struct{ Name string }{"n"}), "Nick: the field is missing, want text (string)"},
		"another kind":        {decodeAs[struct{ Score string }](struct{ Score int }{7}), "Score: got CBOR integer, want text (string)"},
		"a float":             {decodeAs[struct{ Score float64 }](struct{ Score int }{7}), "Score: got CBOR integer, want float (float64)"},
		"a time":              {decodeAs[struct{ At time.Time }](struct{ At int }{7}), "At: got CBOR integer, want text of a time (time.Time)"},
		"a shorter array":     {decodeAs[struct{ A [2]int }](struct{ A []int }{[]int{1, 2, 3}}), "A: got an array of 3 elements, want array ([2]int)"},
		"fewer bytes":         {decodeAs[[4]byte]([8]byte{}), "got 8 bytes, want bytes ([4]uint8)"},
		"null":                {decodeAs[[]int]([]*int{nil}), "[0]: got CBOR simple value or float, want integer (int)"},
		"in a map":            {decodeAs[map[string]int](map[string]string{"k": "v"}), "[]: got CBOR text, want integer (int)"},
		"nothing of a value":  {decodeAs[None](was{}), "which struct {} does not have"},
		"a number as nothing": {decodeAs[None](7), "got CBOR integer, want map (struct {})"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got error %v, want %q in it", name, c.err, c.want)
		}
	}
	text := undecodable("result", "score", "3", decodeAs[struct{ Score string }](struct{ Score int }{7}))
	for _, part := range []string{`result of score (Version "3")`, "Score: got CBOR integer, want text (string)", "change the function's Version"} {
		if !strings.Contains(text, part) {
			t.Errorf("got %q, want %q in it", text, part)
		}
	}
}

// decodeAs encodes v, and returns the error of decoding it as a W.
func decodeAs[W, V any](v V) error {
	var encoded task.Value
	if _, err := codecOf[V]().encode(&encoded, v); err != nil {
		panic(err)
	}
	_, err := codecOf[W]().decode(&encoded, refSource{})
	return err
}
