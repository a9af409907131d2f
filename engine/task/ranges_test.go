package task_test

import (
	"math"
	"slices"
	"testing"

	"github.com/tidemill/tidemill/engine/task"
)

func TestRangesOf(t *testing.T) {
	for _, c := range []struct {
		numbers []uint64
		want    task.Ranges
	}{
		{nil, nil},
		{[]uint64{7}, task.Ranges{{7, 7}}},
		{[]uint64{3, 1, 2, 2, 9, 8}, task.Ranges{{1, 3}, {8, 9}}},
	} {
		if got := task.RangesOf(slices.Clone(c.numbers)); !slices.Equal(got, c.want) {
			t.Errorf("RangesOf(%v): got %v, want %v", c.numbers, got, c.want)
		}
	}
}

// Ranges from a message may be in any order, overlap, touch, or be empty; the greatest number has no successor.
func TestRangesWith(t *testing.T) {
	for _, c := range []struct{ set, more, want task.Ranges }{
		{nil, nil, nil},
		{task.Ranges{{1, 2}}, nil, task.Ranges{{1, 2}}},
		{nil, task.Ranges{{5, 6}, {1, 2}}, task.Ranges{{1, 2}, {5, 6}}},
		{task.Ranges{{1, 2}, {8, 9}}, task.Ranges{{3, 4}}, task.Ranges{{1, 4}, {8, 9}}},
		{task.Ranges{{1, 9}}, task.Ranges{{2, 3}, {9, 12}}, task.Ranges{{1, 12}}},
		{task.Ranges{{1, 2}}, task.Ranges{{9, 8}}, task.Ranges{{1, 2}}},
		{task.Ranges{{5, math.MaxUint64}}, task.Ranges{{0, 0}, {7, 8}}, task.Ranges{{0, 0}, {5, math.MaxUint64}}},
	} {
		if got := c.set.With(slices.Clone(c.more)); !slices.Equal(got, c.want) {
			t.Errorf("%v with %v: got %v, want %v", c.set, c.more, got, c.want)
		}
	}
}

func TestRangesHas(t *testing.T) {
	r := task.Ranges{{2, 3}, {7, 7}, {math.MaxUint64, math.MaxUint64}}
	for number, want := range map[uint64]bool{0: false, 1: false, 2: true, 3: true, 4: false, 7: true, 8: false, math.MaxUint64: true} {
		if got := r.Has(number); got != want {
			t.Errorf("%v has %d: got %t, want %t", r, number, got, want)
		}
	}
	if task.Ranges(nil).Has(0) {
		t.Error("the empty set has 0: got true, want false")
	}
}
