package task_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/engine/task"
)

func TestNewResources(t *testing.T) {
	got := resources(t, wants{"ssd": 1, "cpu": 0, "memory": 8*gibi + 1, "gpu": 0.0014, "a": 1 << 30})
	want := task.Resources{{"a", 1000 << 30}, {"cpu", 0}, {"gpu", 1}, {"memory", 8*gibi + 1}, {"ssd", 1000}}
	if !slices.Equal(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
	if got := resources(t, nil); len(got) != 0 {
		t.Errorf("nothing is %v", got)
	}
}

func TestNewResourcesErrors(t *testing.T) {
	for _, test := range []struct {
		amounts wants
		says    string
	}{
		{wants{"cpu": math.NaN()}, "cpu=NaN: not an amount"},
		{wants{"memory": math.NaN()}, "memory=NaN: not an amount"},
		{wants{"cpu": -1}, "cpu=-1: not an amount"},
		{wants{"cpu": -0.0001}, "cpu=-0.0001: not an amount"},
		{wants{"memory": -1}, "memory=-1: not an amount"},
		{wants{"cpu": math.Inf(1)}, "cpu=+Inf: not an amount"},
		{wants{"cpu": math.Inf(-1)}, "cpu=-Inf: not an amount"},
		{wants{"gpu": 1e13}, "gpu=1e+13: not an amount"},
		{wants{"memory": 1<<50 + 1}, "not an amount"},
		{wants{"cpu": 0.0004}, "cpu=0.0004: the least amount is 0.001"},
		{wants{"memory": 0.5}, "memory=0.5: the least amount is 1"},
		{wants{"cpu": 1, "": 1}, `name ""`},
		{wants{"GPU": 1}, `name "GPU"`},
		{wants{"a-b": 1}, `name "a-b"`},
		{wants{"a=b": 1}, `name "a=b"`},
		{wants{"1a": 1}, `name "1a"`},
		{wants{"a b": 1}, `name "a b"`},
		{wants{"a\n": 1}, `name "a\n"`},
		{wants{strings.Repeat("a", 65): 1}, "up to 63"},
	} {
		r, err := task.NewResources(test.amounts)
		if err == nil {
			t.Errorf("%v is %v, and no error", test.amounts, r)
		} else if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %q does not say %q", test.amounts, err, test.says)
		}
	}
}

func TestResourcesFit(t *testing.T) {
	node := wants{"cpu": 16, "memory": 64 * gibi, "gpu": 2}
	for _, test := range []struct {
		shape wants
		fits  bool
		times int // at once
	}{
		{wants{"cpu": 1}, true, 16},
		{wants{"cpu": 3}, true, 5},
		{wants{"cpu": 16}, true, 1},
		{wants{"cpu": 16.001}, false, 0},
		{wants{"cpu": 1, "memory": 8 * gibi}, true, 8},
		{wants{"cpu": 1, "memory": 64*gibi + 1}, false, 0},
		{wants{"cpu": 1, "gpu": 0.5}, true, 4},
		{wants{"cpu": 0, "gpu": 0.5}, true, 4},
		{wants{"cpu": 0, "gpu": 3}, false, 0},
		{wants{"ssd": 1}, false, 0},
		{wants{"ssd": 0, "cpu": 2}, true, 8},
		{wants{"cpu": 0}, true, 16000}, // nothing at all: once for each thousandth of a CPU
		{wants{}, true, 16000},
	} {
		shape, have := resources(t, test.shape), resources(t, node)
		if got := shape.Fits(have); got != test.fits {
			t.Errorf("%v fits %v: %v", shape, have, got)
		}
		if got := shape.Times(have); got != test.times {
			t.Errorf("%v fits %d times into %v, want %d", shape, got, have, test.times)
		}
	}
}

func TestResourcesWith(t *testing.T) {
	had := resources(t, wants{"cpu": 1, "gpu": 2})
	for _, test := range []struct {
		with task.Amount
		want string
	}{
		{task.Amount{Name: "gpu", Value: 500}, "cpu=1 gpu=0.5"},
		{task.Amount{Name: "cpu", Value: 0}, "cpu=0 gpu=2"},
		{task.Amount{Name: "a", Value: 1000}, "a=1 cpu=1 gpu=2"},
		{task.Amount{Name: "dsp", Value: 1}, "cpu=1 dsp=0.001 gpu=2"},
		{task.Amount{Name: "memory", Value: 3 * mebi}, "cpu=1 gpu=2 memory=3Mi"},
	} {
		if got := had.With(test.with).String(); got != test.want {
			t.Errorf("with %v: %s, want %s", test.with, got, test.want)
		}
	}
	if got := had.String(); got != "cpu=1 gpu=2" {
		t.Errorf("With changed what it was called on: %s", got)
	}
	if got := task.Resources(nil).With(task.Amount{Name: "cpu", Value: 1250}).String(); got != "cpu=1.25" {
		t.Errorf("nothing with a CPU is %s", got)
	}
}

func TestResourcesOf(t *testing.T) {
	r := resources(t, wants{"cpu": 0, "memory": 1000})
	if r.Of("cpu") != 0 || r.Of("memory") != 1000 || r.Of("gpu") != 0 {
		t.Errorf("Of: %d, %d, %d", r.Of("cpu"), r.Of("memory"), r.Of("gpu"))
	}
	if !r.Has("cpu") || !r.Has("memory") || r.Has("gpu") {
		t.Errorf("Has: %v, %v, %v", r.Has("cpu"), r.Has("memory"), r.Has("gpu"))
	}
}

func TestResourcesInWords(t *testing.T) {
	for words, amounts := range map[string]wants{
		"":                                     {},
		"cpu=4 memory=8Gi ssd=1":               {"cpu": 4, "memory": 8 * gibi, "ssd": 1},
		"cpu=0 gpu=0.125":                      {"cpu": 0, "gpu": 0.125},
		"memory=0":                             {"memory": 0},
		"memory=1023":                          {"memory": 1023},
		"memory=1Ki":                           {"memory": 1024},
		"memory=1025Mi":                        {"memory": 1025 * mebi},
		"memory=1Ti":                           {"memory": 1 << 40},
		"cpu=1125899906842 gpu=0.1 memory=1Mi": {"cpu": 1125899906842, "gpu": 0.1, "memory": mebi},
	} {
		if got := resources(t, amounts).String(); got != words {
			t.Errorf("%v is %q, want %q", amounts, got, words)
		}
	}
}
