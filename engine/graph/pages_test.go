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

// Random operations have the same effect on Pages and on a map.
func TestPagesAreAMap(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		var ops []byte
		for range r.IntN(2000) {
			ops = append(ops, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()))
		}
		if !pagesAreAMap(t, ops) {
			t.Fatalf("the operations of seed %d have another effect on Pages than on a map", seed)
		}
	}
}

func FuzzPages(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 0, 2, 3, 0, 1, 3, 0, 2})
	f.Add([]byte{0, 1, 7, 3, 1, 7, 0, 2, 7, 6, 0, 0, 2, 1, 7})
	f.Fuzz(func(t *testing.T, ops []byte) { pagesAreAMap(t, ops) })
}

// pagesAreAMap applies operations to Pages and to a map. Each is three bytes: the operation, the page, the number in it.
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
		case 6: // Get returns a pointer to the value itself
			if place := pages.Get(number); place != nil {
				*place = -step
				model[number] = -step
			}
		}
		ops = ops[3:]
		want, used := model[number]
		switch place := pages.Get(number); {
		case (place != nil) != used:
			t.Errorf("step %d: number %d is in use: got %v, want %v", step, number, place != nil, used)
		case used && *place != want:
			t.Errorf("step %d: value of number %d: got %d, want %d", step, number, *place, want)
		case pages.Len() != len(model):
			t.Errorf("step %d: Len: got %d, want %d", step, pages.Len(), len(model))
		}
		if step%64 == 0 && !maps.Equal(visited(&pages), model) {
			t.Errorf("step %d: All: got %v, want %v", step, visited(&pages), model)
		}
		if t.Failed() {
			return false
		}
	}
	if !maps.Equal(visited(&pages), model) {
		t.Errorf("at the end: All: got %v, want %v", visited(&pages), model)
	}
	return !t.Failed()
}

// pageOf returns one of a few pages, so that they fill, empty and are used again. One of them is the last possible page.
func pageOf(b byte) uint64 {
	if b == 255 {
		return math.MaxUint64 / 256
	}
	return uint64(b % 4)
}

// visited returns what All visits. A number that it visits twice has a value that no other has.
func visited(pages *graph.Pages[int]) map[uint64]int {
	all := map[uint64]int{}
	pages.All(func(number uint64, v int) {
		if _, twice := all[number]; twice {
			v = math.MinInt
		}
		all[number] = v
	})
	return all
}

func TestPagesAreEmptyAtFirst(t *testing.T) {
	var pages graph.Pages[string]
	for _, number := range []uint64{0, 1, 255, 256, math.MaxUint64} {
		if pages.Get(number) != nil {
			t.Errorf("number %d is in use: got true, want false", number)
		}
		pages.Delete(number)
	}
	pages.All(func(number uint64, _ string) { t.Errorf("All: got number %d, want none", number) })
	if pages.Len() != 0 {
		t.Errorf("Len: got %d, want 0", pages.Len())
	}
}

// An emptied page is reused for other numbers, without values of the former ones.
func TestReusedPagesAreEmpty(t *testing.T) {
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
			t.Errorf("number %d is in use: got %v with %v, want %v with nil", number, place != nil, place, number == 512)
		}
	}
	if pages.Len() != 1 {
		t.Errorf("Len: got %d, want 1", pages.Len())
	}
}

// Deleted values can be collected, whether their page is in use or spare.
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
			t.Errorf("the deleted value of number %d: got one that the pages still refer to, want it collected", number*255)
		}
	}
	runtime.KeepAlive(&pages)
}

// A session that ends deletes all tasks while it visits them.
func TestPagesDeleteDuringAll(t *testing.T) {
	var pages graph.Pages[int]
	for number := range uint64(2000) {
		pages.Put(number, 1)
	}
	visits := 0
	pages.All(func(number uint64, _ int) {
		visits++
		pages.Delete(number)
	})
	if visits != 2000 || pages.Len() != 0 {
		t.Errorf("got %d visits and %d numbers left, want 2000 and 0", visits, pages.Len())
	}
}
