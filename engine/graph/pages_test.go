package graph_test

import (
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"weak"

	"github.com/tidemill/tidemill/engine/graph"
)

// TestPagesAreAMap does the same to Pages and to a map, by random.
func TestPagesAreAMap(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		var ops []byte
		for range r.IntN(2000) {
			ops = append(ops, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()))
		}
		if !pagesAreAMap(t, ops) {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzPages(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 0, 2, 3, 0, 1, 3, 0, 2})
	f.Add([]byte{0, 1, 7, 3, 1, 7, 0, 2, 7, 6, 0, 0, 2, 1, 7})
	f.Fuzz(func(t *testing.T, ops []byte) { pagesAreAMap(t, ops) })
}

// pagesAreAMap reads operations, three bytes each: what to do, in which page, to which number of it.
func pagesAreAMap(t *testing.T, ops []byte) bool {
	t.Helper()
	var pages graph.Pages[int]
	model := map[uint64]int{}
	for step := 0; len(ops) >= 3; step++ {
		number := pageOf(ops[1])*256 + uint64(ops[2])
		switch ops[0] % 7 {
		case 0, 1, 2:
			pages.Put(number, step)
			model[number] = step
		case 3, 4, 5:
			pages.Delete(number)
			delete(model, number)
		case 6: // the place that Get returns is the value's own
			if place := pages.Get(number); place != nil {
				*place = -step
				model[number] = -step
			}
		}
		ops = ops[3:]
		want, used := model[number]
		switch place := pages.Get(number); {
		case (place != nil) != used:
			t.Errorf("step %d: number %d is in use: %v, want %v", step, number, place != nil, used)
		case used && *place != want:
			t.Errorf("step %d: number %d has %d, want %d", step, number, *place, want)
		case pages.Len() != len(model):
			t.Errorf("step %d: Len is %d, want %d", step, pages.Len(), len(model))
		}
		if step%64 == 0 && !sameAsMap(&pages, model) {
			t.Errorf("step %d: All visits other numbers or values", step)
		}
		if t.Failed() {
			return false
		}
	}
	if !sameAsMap(&pages, model) {
		t.Error("at the end: All visits other numbers or values")
	}
	return !t.Failed()
}

// pageOf is one of a few pages, so that they fill, empty and come again; the last is the last there is.
func pageOf(b byte) uint64 {
	if b == 255 {
		return math.MaxUint64 / 256
	}
	return uint64(b % 4)
}

func sameAsMap(pages *graph.Pages[int], model map[uint64]int) bool {
	visited := map[uint64]int{}
	twice := false
	pages.All(func(number uint64, v int) {
		_, before := visited[number]
		twice = twice || before
		visited[number] = v
	})
	return !twice && maps.Equal(visited, model)
}

func TestPagesAreEmptyAtFirst(t *testing.T) {
	var pages graph.Pages[string]
	for _, number := range []uint64{0, 1, 255, 256, math.MaxUint64} {
		if pages.Get(number) != nil {
			t.Errorf("number %d is in use", number)
		}
		pages.Delete(number)
	}
	pages.All(func(number uint64, _ string) { t.Errorf("All visits %d", number) })
	if pages.Len() != 0 {
		t.Errorf("Len is %d", pages.Len())
	}
}

// A page that was emptied is used again for other numbers: nothing of the former ones shows.
func TestPagesUsedAgainAreClean(t *testing.T) {
	var pages graph.Pages[*int]
	for number := range uint64(256) {
		pages.Put(number, new(int))
	}
	for number := range uint64(256) {
		pages.Delete(number)
	}
	pages.Put(512, nil)
	for number := range uint64(1024) {
		if place := pages.Get(number); (place != nil) != (number == 512) || place != nil && *place != nil {
			t.Errorf("number %d is in use: %v", number, place != nil)
		}
	}
	if pages.Len() != 1 {
		t.Errorf("Len is %d", pages.Len())
	}
}

// What was deleted is not kept from the collector, in a page that lives nor in the spare one.
func TestPagesForgetWhatWasDeleted(t *testing.T) {
	var pages graph.Pages[*[1024]byte]
	var deleted []weak.Pointer[[1024]byte]
	for number := range uint64(3) { // 0 and 1 share a page with what stays
		v := new([1024]byte)
		deleted = append(deleted, weak.Make(v))
		pages.Put(number*255, v)
	}
	pages.Put(100, new([1024]byte))
	for number := range uint64(3) {
		pages.Delete(number * 255)
	}
	runtime.GC()
	for number, w := range deleted {
		if w.Value() != nil {
			t.Errorf("the value of number %d is still kept", number*255)
		}
	}
	runtime.KeepAlive(&pages)
}

// A session that ends gives up all tasks while it looks at them.
func TestPagesDeleteDuringAll(t *testing.T) {
	var pages graph.Pages[int]
	for number := range uint64(2000) {
		pages.Put(number, 1)
	}
	visited := 0
	pages.All(func(number uint64, _ int) {
		visited++
		pages.Delete(number)
	})
	if visited != 2000 || pages.Len() != 0 {
		t.Errorf("visited %d of 2000, and %d are left", visited, pages.Len())
	}
}
