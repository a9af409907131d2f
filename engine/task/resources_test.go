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
		t.Errorf("no amounts: got %v, want none", got)
	}
}

func TestNewResourcesErrors(t *testing.T) {
	for _, test := range []struct {
		amounts wants
		want    string
	}{
		{wants{"cpu": math.NaN()}, "cpu=NaN: want an amount from 0"},
		{wants{"memory": math.NaN()}, "memory=NaN: want an amount from 0"},
		{wants{"cpu": -1}, "cpu=-1: want an amount from 0"},
		{wants{"cpu": -0.0001}, "cpu=-0.0001: want an amount from 0"},
		{wants{"memory": -1}, "memory=-1: want an amount from 0"},
		{wants{"cpu": math.Inf(1)}, "cpu=+Inf: want an amount from 0"},
		{wants{"cpu": math.Inf(-1)}, "cpu=-Inf: want an amount from 0"},
		{wants{"gpu": 1e13}, "gpu=1e+13: want an amount from 0"},
		{wants{"memory": 1<<50 + 1}, "want an amount from 0 to 1024Ti"},
		{wants{"cpu": 0.0004}, "cpu=0.0004: want 0 or at least 0.001"},
		{wants{"memory": 0.5}, "memory=0.5: want 0 or at least 1"},
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
			t.Errorf("%v: got %v, want an error with %q", test.amounts, r, test.want)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got error %q, want one with %q", test.amounts, err, test.want)
		}
	}
}

func TestResourcesFit(t *testing.T) {
	node := wants{"cpu": 16, "memory": 64 * gibi, "gpu": 2}
	for _, test := range []struct {
		shape wants
		fits  bool
		times int // how many fit at a time
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
		{wants{"cpu": 0}, true, 16000}, // needs nothing: one for each thousandth of a CPU
		{wants{}, true, 16000},
	} {
		shape, have := resources(t, test.shape), resources(t, node)
		if got := shape.Fits(have); got != test.fits {
			t.Errorf("%v fits %v: got %v, want %v", shape, have, got, test.fits)
		}
		if got := shape.Times(have); got != test.times {
			t.Errorf("how often %v fits into %v: got %d, want %d", shape, have, got, test.times)
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
			t.Errorf("with %v: got %s, want %s", test.with, got, test.want)
		}
	}
	if got := had.String(); got != "cpu=1 gpu=2" {
		t.Errorf("the receiver after With: got %s, want cpu=1 gpu=2", got)
	}
	if got := task.Resources(nil).With(task.Amount{Name: "cpu", Value: 1250}).String(); got != "cpu=1.25" {
		t.Errorf("no resources with 1.25 CPUs: got %s, want cpu=1.25", got)
	}
}

func TestResourcesOf(t *testing.T) {
	r := resources(t, wants{"cpu": 0, "memory": 1000})
	if r.Of("cpu") != 0 || r.Of("memory") != 1000 || r.Of("gpu") != 0 {
		t.Errorf("cpu, memory, gpu: got %d, %d, %d, want 0, 1000, 0", r.Of("cpu"), r.Of("memory"), r.Of("gpu"))
	}
	if !r.Has("cpu") || !r.Has("memory") || r.Has("gpu") {
		t.Errorf("has cpu, memory, gpu: got %v, %v, %v, want true, true, false", r.Has("cpu"), r.Has("memory"), r.Has("gpu"))
	}
}

func TestResourcesString(t *testing.T) {
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
			t.Errorf("%v: got %q, want %q", amounts, got, words)
		}
	}
}
