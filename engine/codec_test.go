package engine

import (
	"bytes"
	"errors"
	"math/big"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// maker makes random types, and random values of them.
type maker struct{ *rand.Rand }

var basic = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int8](), reflect.TypeFor[int64](), reflect.TypeFor[uint16](), reflect.TypeFor[uint64](),
	reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](),
	reflect.TypeFor[time.Duration](), reflect.TypeFor[time.Time](), reflect.TypeFor[big.Int](), reflect.TypeFor[[4]uint8](),
	reflect.TypeFor[generic[string]](), reflect.TypeFor[embedding](),
}

type generic[T any] struct{ Of []T }

type Base struct{ ID int }

type embedding struct {
	Base
	Name string `json:"name,omitempty"`
}

func (m maker) aType(depth int) reflect.Type {
	if depth == 0 {
		return basic[m.IntN(len(basic))]
	}
	switch m.IntN(6) {
	case 0:
		return reflect.SliceOf(m.aType(depth - 1))
	case 1:
		return reflect.MapOf(reflect.TypeFor[string](), m.aType(depth-1))
	case 2:
		if t := m.aType(depth - 1); t.Kind() != reflect.Pointer {
			return reflect.PointerTo(t)
		}
		return m.aType(0)
	case 3:
		return reflect.ArrayOf(1+m.IntN(3), m.aType(depth-1))
	case 4:
		var fields []reflect.StructField
		for i := range 1 + m.IntN(4) {
			fields = append(fields, reflect.StructField{Name: string(rune('A' + i)), Type: m.aType(depth - 1)})
		}
		return reflect.StructOf(fields)
	}
	return m.aType(0)
}

// fill sets v to a random value. Slices, maps and pointers are sometimes nil, slices and maps sometimes empty.
func (m maker) fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Unix(m.Int64N(4e9), m.Int64N(1e9)).UTC()
		return
	case *big.Int:
		x.Lsh(big.NewInt(m.Int64()-1<<62), uint(m.IntN(100)))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(m.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int64:
		v.SetInt(m.Int64() >> m.IntN(64))
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(m.Uint64() >> m.IntN(64))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(m.NormFloat64())
	case reflect.String:
		v.SetString(strings.Repeat("tïde", m.IntN(4)))
	case reflect.Pointer:
		if m.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			m.fill(v.Elem())
		}
	case reflect.Slice:
		if m.IntN(4) > 0 {
			v.Set(reflect.MakeSlice(v.Type(), m.IntN(4), 4))
		}
		m.fillAll(v)
	case reflect.Array:
		m.fillAll(v)
	case reflect.Map:
		if m.IntN(4) == 0 {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for i := range m.IntN(4) {
			e := reflect.New(v.Type().Elem()).Elem()
			m.fill(e)
			v.SetMapIndex(reflect.ValueOf(strings.Repeat("k", i)), e)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			m.fill(f)
		}
	default:
		panic(v.Kind()) // the generator makes no others
	}
}

func (m maker) fillAll(v reflect.Value) {
	for i := range v.Len() {
		m.fill(v.Index(i))
	}
}

// equal compares encodings, since equal values of big.Int can differ for reflect.DeepEqual.
func equal(a, b reflect.Value) bool {
	x, err1 := appendCBOR(nil, a.Interface())
	y, err2 := appendCBOR(nil, b.Interface())
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

// A value of any type is decoded to an equal value, which has equal bytes.
func TestEncodeAndDecodeAnyType(t *testing.T) {
	for seed := range uint64(3000) {
		m := maker{rand.New(rand.NewPCG(seed, 1))}
		typ := m.aType(4)
		want := reflect.New(typ).Elem()
		m.fill(want)
		data, err := appendCBOR(nil, want.Interface())
		if err != nil {
			t.Fatalf("seed %d: encode a %s: %v", seed, typ, err)
		}
		got := reflect.New(typ)
		if err := decoder.Unmarshal(data, got.Interface()); err != nil {
			t.Fatalf("seed %d: decode a %s: %v", seed, typ, err)
		}
		if !equal(want, got.Elem()) {
			t.Fatalf("seed %d: %s:\ngot  %#v\nwant %#v", seed, typ, got.Elem(), want)
		}
	}
}

type doc struct {
	Title string         `json:"title"`
	Pages []int          `json:"pages"`
	More  map[string]doc `json:"more"`
	Ref   Ref[int]       `cbor:"ref" json:"-"`
}

// JSON from other NATS clients is decoded; if it does not fit, the error names both types.
func TestJSON(t *testing.T) {
	c := codecOf[doc]()
	got, err := c.decode(&task.Value{Type: task.JSON, Data: []byte(`{"title":"t","pages":[1,2],"more":{"x":{"title":"y"}}}`)}, refSource{})
	if err != nil || got.Title != "t" || len(got.Pages) != 2 || got.More["x"].Title != "y" {
		t.Errorf("got %+v, error %v; want title t, pages 1 and 2, and y under x", got, err)
	}
	n := codecOf[int]()
	if v, err := n.decode(&task.Value{Type: task.JSON, Data: []byte("7")}, refSource{}); v != 7 || err != nil {
		t.Errorf("JSON 7: got %d, error %v; want 7", v, err)
	}
	_, err = n.decode(&task.Value{Type: task.JSON, Data: []byte(` {"a":1}`)}, refSource{})
	if err == nil || !strings.Contains(err.Error(), "JSON object cannot be decoded into int") {
		t.Errorf("a JSON object as an int: got error %v", err)
	}
	_, err = c.decode(&task.Value{Type: task.Text, Data: []byte("text")}, refSource{})
	if err == nil || !strings.Contains(err.Error(), "a string cannot be decoded into engine.doc") {
		t.Errorf("a string as a struct: got error %v", err)
	}
}

// Any bytes are decoded or refused, and the memory that this takes is limited by their length.
func FuzzDecode(f *testing.F) {
	good, _ := appendCBOR(nil, doc{Title: "t", More: map[string]doc{"x": {}}, Ref: Ref[int]{h: session.Hole(0)}})
	f.Add(good)
	f.Add(bytes.Repeat([]byte{0x81}, 20_000))                                        // deep
	f.Add([]byte{0x9b, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff})                       // long
	f.Add([]byte{0xa1, 0x65, 'P', 'a', 'g', 'e', 's', 0x9a, 0x7f, 0xff, 0xff, 0xff}) // long, where it is wanted
	refs := []*session.Handle{session.Local(task.Value{Data: []byte{7}})}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range []task.ValueType{task.CBOR, task.JSON, task.Arrow} {
			v := task.Value{Type: kind, Data: data, External: &task.External{Refs: []task.Value{{Data: []byte{7}}}}}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _ = codecOf[doc]().decode(&v, refSource{refs: refs})
			_, _ = codecOf[[]Ref[int]]().decode(&v, refSource{refs: refs})
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20+uint64(len(data))*512 {
				t.Fatalf("decoding %d bytes allocated %d bytes, want at most 32 MiB and 512 for each byte", len(data), used)
			}
		}
	})
}

// A value with more different Refs than a message may have is refused when it is encoded. The same Ref counts once.
func TestTooManyRefs(t *testing.T) {
	refs := make([]Ref[int], task.MaxRefs+1)
	for i := range refs {
		refs[i] = Ref[int]{h: session.Local(task.Value{Data: []byte{7}})}
	}
	c := codecOf[[]Ref[int]]()
	most := slices.Concat(refs[:task.MaxRefs], refs[:task.MaxRefs/8])
	var v task.Value
	if handles, err := c.encode(&v, most); len(handles) != task.MaxRefs || err != nil {
		t.Errorf("%d Refs, some of them twice: got %d references, error %v; want %d", task.MaxRefs, len(handles), err, task.MaxRefs)
	}
	if _, err := c.encode(&v, refs); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d Refs: got error %v, want %v", len(refs), err, ErrTooLarge)
	}
}
