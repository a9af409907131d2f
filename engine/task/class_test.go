package task_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/engine/task"
)

const (
	mebi = 1 << 20
	gibi = 1 << 30
)

// wants are the resources of a shape or a node, as users write them.
type wants = map[string]float64

// large is a node that has more than any shape here is rounded up to.
var large = wants{
	"cpu": 1 << 20, "memory": 1 << 45, "gpu": 1 << 20, "ssd": 1 << 20, "cpu_only_node": 1 << 20, "bandwidth": 1 << 20,
}

func TestClassOf(t *testing.T) {
	six := wants{"cpu": 6, "memory": 12 * gibi, "gpu": 1}
	for _, test := range []struct {
		class   task.Class
		shape   wants
		largest wants
	}{
		// Names, as agents of other versions know them.
		{"cpu", wants{}, large},
		{"cpu", wants{"cpu": 1}, large},
		{"cpu=4", wants{"cpu": 4}, large},
		{"gpu", wants{"gpu": 1}, large},
		{"gpu=0_5", wants{"gpu": 0.5}, large},
		{"gpu=0_001", wants{"gpu": 0.001}, large},
		{"cpu_only_node", wants{"cpu_only_node": 1}, large},
		{"cpu=4-gpu=2", wants{"gpu": 2, "cpu": 4}, large},
		{"memory=8Gi-ssd", wants{"ssd": 1, "memory": 8 * gibi}, large},
		{"bandwidth=2_5-cpu=2", wants{"cpu": 2, "bandwidth": 2.5}, large},
		{"gpu-ssd", wants{"gpu": 1, "ssd": 1, "cpu": 1}, large},

		// Rounding.
		{"cpu=0_25", wants{"cpu": 0.001}, large},
		{"cpu=0_25", wants{"cpu": 0.25}, large},
		{"cpu=0_5", wants{"cpu": 0.251}, large},
		{"cpu", wants{"cpu": 0.501}, large},
		{"cpu=2", wants{"cpu": 1.001}, large},
		{"cpu=4", wants{"cpu": 3}, large},
		{"cpu=64", wants{"cpu": 33}, large},
		{"memory=256Mi", wants{"memory": 1}, large},
		{"memory=256Mi", wants{"memory": 256 * mebi}, large},
		{"memory=512Mi", wants{"memory": 256*mebi + 1}, large},
		{"memory=1Gi", wants{"memory": 600 * mebi}, large},
		{"memory=2Ti", wants{"memory": 1025 * gibi}, large},
		{"gpu=3", wants{"gpu": 3}, large}, // others are not rounded

		// Cut to the largest node, if that is enough.
		{"cpu=4", wants{"cpu": 4}, six},
		{"cpu=6", wants{"cpu": 5}, six},
		{"cpu=6", wants{"cpu": 6}, six},
		{"cpu=8", wants{"cpu": 7}, six}, // does not fit
		{"memory=12Gi", wants{"memory": 9 * gibi}, six},
		{"memory=16Gi", wants{"memory": 13 * gibi}, six},
		{"cpu=6-memory=12Gi", wants{"cpu": 4.5, "memory": 8*gibi + 1}, six},
		{"gpu=2", wants{"gpu": 2}, six},
		{"memory=100000000Ki", wants{"memory": 80 * gibi}, wants{"cpu": 1, "memory": 100000000 << 10}},
		{"memory=100000000001", wants{"memory": 80 * gibi}, wants{"cpu": 1, "memory": 100000000001}},
		{"cpu=2", wants{"cpu": 2}, wants{}},                   // without nodes
		{"cpu=1125899906842_624", wants{"cpu": 1.12e12}, six}, // rounded up to the largest amount

		// Amounts of 0.
		{"cpu=0-gpu", wants{"cpu": 0, "gpu": 1}, large},
		{"cpu=0-memory=1Gi", wants{"cpu": 0, "memory": gibi}, large},
		{"cpu", wants{"gpu": 0, "memory": 0}, large},
		{"cpu=2", wants{"cpu": 2, "gpu": 0}, large},
	} {
		shape, largest := resources(t, test.shape), resources(t, test.largest)
		class, rounded, err := task.ClassOf(shape, largest)
		if err != nil || class != test.class {
			t.Errorf("ClassOf(%v): got %q, %v, want %q", shape, class, err, test.class)
			continue
		}
		parsed, err := class.Parse()
		if err != nil || !slices.Equal(parsed, rounded) {
			t.Errorf("parse %q: got %v, %v, want %v, to which %v was rounded", class, parsed, err, rounded, shape)
		}
	}
}

// A shape that needs nothing has no class: any number of such tasks would fit.
func TestClassOfNothing(t *testing.T) {
	for _, shape := range []wants{{"cpu": 0}, {"cpu": 0, "gpu": 0, "memory": 0}} {
		if class, rounded, err := task.ClassOf(resources(t, shape), resources(t, large)); err == nil {
			t.Errorf("ClassOf(%v): got %q, %v, want an error", shape, class, rounded)
		}
	}
}

// ClassOf does not change its arguments.
func TestClassOfKeepsItsArguments(t *testing.T) {
	shape, largest := resources(t, wants{"gpu": 1, "memory": 1}), resources(t, large)
	shapeBefore, largestBefore := slices.Clone(shape), slices.Clone(largest)
	if _, _, err := task.ClassOf(shape, largest); err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	if !slices.Equal(shape, shapeBefore) || !slices.Equal(largest, largestBefore) {
		t.Errorf("arguments after ClassOf: got %v, %v, want %v, %v", shape, largest, shapeBefore, largestBefore)
	}
}

func TestClassParseErrors(t *testing.T) {
	for _, test := range []struct {
		class task.Class
		want  string
	}{
		{"", `resource ""`},
		{"-", `resource ""`},
		{"cpu-", `resource ""`},
		{"CPU", `resource "CPU"`},
		{"4", `resource "4"`},
		{"_gpu", `resource "_gpu"`},
		{"gpu.a", `resource "gpu.a"`},
		{"gpu-gpu", `resource "gpu"`},
		{"cpu=2-cpu=4", `resource "cpu"`},
		{task.Class(strings.Repeat("g", 65)), "resource"},
		{"cpu=", "amount"},
		{"cpu=x", "amount"},
		{"gpu=nan", "want an amount from 0 to"},
		{"gpu=inf", "want an amount from 0 to"},
		{"cpu=9999999999999", "want an amount from 0 to"},
		{"memory=8GiB", "amount"},
		{"memory=Gi", "amount"},
		{"memory=-1", "amount"},
		{"memory=0_5Gi", "amount"},
		{"memory=1025Ti", "amount"},
		{"memory=9999999Ti", "amount"},
		{"gpu=0_0001", "want 0 or at least"},

		// Other spellings of a class.
		{"cpu=1", `written as "cpu"`},
		{"cpu=01", `written as "cpu"`},
		{"cpu=4_0", `written as "cpu=4"`},
		{"cpu=4.5", `written as "cpu=4_5"`},
		{"cpu=4e0", `written as "cpu=4"`},
		{"cpu=+4", `written as "cpu=4"`},
		{"cpu=0x4p0", `written as "cpu=4"`},
		{"gpu=1", `written as "gpu"`},
		{"cpu-gpu", `written as "gpu"`},
		{"ssd-memory=8Gi", `written as "memory=8Gi-ssd"`},
		{"gpu=2-cpu=4", `written as "cpu=4-gpu=2"`},
		{"memory=1024Mi", `written as "memory=1Gi"`},
		{"memory", "written"},
		{"gpu=0", `written as "cpu"`},
		{"cpu=2-memory=0", `written as "cpu=2"`},
		{"cpu=0", "a shape without resources"},
	} {
		r, err := test.class.Parse()
		if err == nil {
			t.Errorf("parse %q: got %v, want an error with %q", test.class, r, test.want)
			continue
		}
		if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "task: class ") {
			t.Errorf("parse %q: got error %q, want one with %q", test.class, err, test.want)
		}
	}
}

// If a shape fits the largest node, so does its class: an agent runs what it pulls from a class.
func TestClassFitsWhereItsShapeDoes(t *testing.T) {
	fitted := 0
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 5))
		largest, shape := randomResources(r), needed(randomResources(r))
		class, rounded, err := task.ClassOf(shape, largest)
		if err != nil {
			continue
		}
		if parsed, err := class.Parse(); err != nil || !slices.Equal(parsed, rounded) {
			t.Fatalf("seed %d: parse class %q of %v: got %v, %v, want %v", seed, class, shape, parsed, err, rounded)
		}
		if !shape.Fits(rounded) {
			t.Fatalf("seed %d: rounded: got %v, want at least %v", seed, rounded, shape)
		}
		if shape.Fits(largest) {
			fitted++
			if !rounded.Fits(largest) {
				t.Fatalf("seed %d: class of %v: got %q, want one that fits a node of %v, as the shape does", seed, shape, class, largest)
			}
		}
	}
	if fitted < 1000 {
		t.Errorf("shapes that fit their largest node: got %d, want at least 1000", fitted)
	}
}

// A shape that needs more has a class that is at least as large.
func TestClassIsMonotone(t *testing.T) {
	compared := 0
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 6))
		largest, more := randomResources(r), needed(randomResources(r))
		less := slices.Clone(more)
		for i := range less {
			less[i].Value -= r.Int64N(less[i].Value + 1)
		}
		_, roundedMore, err := task.ClassOf(more, largest)
		_, roundedLess, err2 := task.ClassOf(less, largest)
		if err != nil || err2 != nil {
			continue // it needs nothing
		}
		compared++
		if !roundedLess.Fits(roundedMore) {
			t.Fatalf("seed %d, node %v: %v was rounded to %v, want at most %v, to which %v was rounded", seed, largest, less, roundedLess, roundedMore, more)
		}
	}
	if compared < 1000 {
		t.Errorf("compared shapes: got %d, want at least 1000", compared)
	}
}

// The number of classes, and so of queues, is bounded on a node whose resources are no powers of two, too.
func TestClassesAreFew(t *testing.T) {
	largest := resources(t, wants{"cpu": 96, "memory": 500 * gibi})
	classes := map[task.Class]bool{}
	r := rand.New(rand.NewPCG(7, 7))
	for range 10000 {
		class, _, err := task.ClassOf(resources(t, wants{"cpu": r.Float64()*95 + 0.01, "memory": r.Float64()*499*gibi + 1}), largest)
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		classes[class] = true
	}
	if len(classes) > 10*12 {
		t.Errorf("classes: got %d, want at most %d", len(classes), 10*12)
	}
}

// needed adds the CPU that a shape without an amount of CPUs needs.
func needed(shape task.Resources) task.Resources {
	if shape.Has(task.CPU) {
		return shape
	}
	return shape.With(task.Amount{Name: task.CPU, Value: 1000})
}

func randomResources(r *rand.Rand) task.Resources {
	var out task.Resources
	for _, name := range []string{"cpu", "gpu", "memory", "ssd"} {
		bits := 14 // up to sixteen
		if name == task.Memory {
			bits = 36
		}
		if r.IntN(3) > 0 {
			out = out.With(task.Amount{Name: name, Value: r.Int64N(1 << r.IntN(bits+1))})
		}
	}
	return out
}

func resources(t testing.TB, amounts wants) task.Resources {
	t.Helper()
	r, err := task.NewResources(amounts)
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
	return r
}
