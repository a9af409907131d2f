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

// wants is a shape or a node, as people write it.
type wants = map[string]float64

// large is a node that has enough of everything: nothing is cut to it.
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
		// As in the wire's contract.
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

		// The ladder.
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
		{"gpu=3", wants{"gpu": 3}, large}, // as provisioned

		// Cut to the largest node, where that is enough.
		{"cpu=4", wants{"cpu": 4}, six},
		{"cpu=6", wants{"cpu": 5}, six},
		{"cpu=6", wants{"cpu": 6}, six},
		{"cpu=8", wants{"cpu": 7}, six}, // infeasible, and says what it would take
		{"memory=12Gi", wants{"memory": 9 * gibi}, six},
		{"memory=16Gi", wants{"memory": 13 * gibi}, six},
		{"cpu=6-memory=12Gi", wants{"cpu": 4.5, "memory": 8*gibi + 1}, six},
		{"gpu=2", wants{"gpu": 2}, six},
		{"memory=100000000Ki", wants{"memory": 80 * gibi}, wants{"cpu": 1, "memory": 100000000 << 10}},
		{"memory=100000000001", wants{"memory": 80 * gibi}, wants{"cpu": 1, "memory": 100000000001}},
		{"cpu=2", wants{"cpu": 2}, wants{}},                   // no node at all
		{"cpu=1125899906842_624", wants{"cpu": 1.12e12}, six}, // the ladder ends at the largest amount

		// No CPU beside something else; an amount of nothing.
		{"cpu=0-gpu", wants{"cpu": 0, "gpu": 1}, large},
		{"cpu=0-memory=1Gi", wants{"cpu": 0, "memory": gibi}, large},
		{"cpu", wants{"gpu": 0, "memory": 0}, large},
		{"cpu=2", wants{"cpu": 2, "gpu": 0}, large},
	} {
		shape, largest := resources(t, test.shape), resources(t, test.largest)
		class, rounded, err := task.ClassOf(shape, largest)
		if err != nil || class != test.class {
			t.Errorf("ClassOf(%v) is %q, %v; want %q", shape, class, err, test.class)
			continue
		}
		parsed, err := class.Parse()
		if err != nil || !slices.Equal(parsed, rounded) {
			t.Errorf("%q parses to %v, %v; ClassOf(%v) rounded to %v", class, parsed, err, shape, rounded)
		}
	}
}

// A shape that needs nothing would fit any number of times.
func TestClassOfNothing(t *testing.T) {
	for _, shape := range []wants{{"cpu": 0}, {"cpu": 0, "gpu": 0, "memory": 0}} {
		if class, rounded, err := task.ClassOf(resources(t, shape), resources(t, large)); err == nil {
			t.Errorf("ClassOf(%v) is %q, %v, and no error", shape, class, rounded)
		}
	}
}

// ClassOf leaves its arguments alone: they are a node's and a function's.
func TestClassOfKeepsItsArguments(t *testing.T) {
	shape, largest := resources(t, wants{"gpu": 1, "memory": 1}), resources(t, large)
	shapeBefore, largestBefore := slices.Clone(shape), slices.Clone(largest)
	if _, _, err := task.ClassOf(shape, largest); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(shape, shapeBefore) || !slices.Equal(largest, largestBefore) {
		t.Errorf("ClassOf changed its arguments: %v, %v", shape, largest)
	}
}

func TestClassParseErrors(t *testing.T) {
	for _, test := range []struct {
		class task.Class
		says  string
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
		{"gpu=nan", "not an amount"},
		{"gpu=inf", "not an amount"},
		{"cpu=9999999999999", "not an amount"},
		{"memory=8GiB", "amount"},
		{"memory=Gi", "amount"},
		{"memory=-1", "amount"},
		{"memory=0_5Gi", "amount"},
		{"memory=1025Ti", "amount"},
		{"memory=9999999Ti", "amount"},
		{"gpu=0_0001", "least amount"},

		// Another way of writing what has one.
		{"cpu=1", `written "cpu"`},
		{"cpu=01", `written "cpu"`},
		{"cpu=4_0", `written "cpu=4"`},
		{"cpu=4.5", `written "cpu=4_5"`},
		{"cpu=4e0", `written "cpu=4"`},
		{"cpu=+4", `written "cpu=4"`},
		{"cpu=0x4p0", `written "cpu=4"`},
		{"gpu=1", `written "gpu"`},
		{"cpu-gpu", `written "gpu"`},
		{"ssd-memory=8Gi", `written "memory=8Gi-ssd"`},
		{"gpu=2-cpu=4", `written "cpu=4-gpu=2"`},
		{"memory=1024Mi", `written "memory=1Gi"`},
		{"memory", "written"},
		{"gpu=0", `written "cpu"`},
		{"cpu=2-memory=0", `written "cpu=2"`},
		{"cpu=0", "needs some resource"},
	} {
		r, err := test.class.Parse()
		if err == nil {
			t.Errorf("%q parses to %v", test.class, r)
			continue
		}
		if !strings.Contains(err.Error(), test.says) || !strings.HasPrefix(err.Error(), "task: class ") {
			t.Errorf("%q: %q does not say %q", test.class, err, test.says)
		}
	}
}

// What an agent pulls from a class must fit it: wherever a shape fits the largest node, so does its class.
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
			t.Fatalf("seed %d: %v is of class %q: %v parsed, %v rounded: %v", seed, shape, class, parsed, rounded, err)
		}
		if !shape.Fits(rounded) {
			t.Fatalf("seed %d: %v was rounded down to %v", seed, shape, rounded)
		}
		if shape.Fits(largest) {
			fitted++
			if !rounded.Fits(largest) {
				t.Fatalf("seed %d: %v fits a node of %v, and its class %q does not", seed, shape, largest, class)
			}
		}
	}
	if fitted < 1000 {
		t.Errorf("only %d shapes fitted their largest node", fitted)
	}
}

// Who needs more is in no smaller a class.
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
			continue // it needs nothing at all
		}
		compared++
		if !roundedLess.Fits(roundedMore) {
			t.Fatalf("seed %d, node %v: %v is less than %v, and %v more than %v", seed, largest, less, more, roundedLess, roundedMore)
		}
	}
	if compared < 1000 {
		t.Errorf("only %d shapes were compared", compared)
	}
}

// The number of queues is bounded: no node is so odd that shapes make many classes.
func TestClassesAreFew(t *testing.T) {
	largest := resources(t, wants{"cpu": 96, "memory": 500 * gibi})
	classes := map[task.Class]bool{}
	r := rand.New(rand.NewPCG(7, 7))
	for range 10000 {
		class, _, err := task.ClassOf(resources(t, wants{"cpu": r.Float64()*95 + 0.01, "memory": r.Float64()*499*gibi + 1}), largest)
		if err != nil {
			t.Fatal(err)
		}
		classes[class] = true
	}
	if len(classes) > 10*12 {
		t.Errorf("%d classes", len(classes))
	}
}

// needed adds the CPU that a shape needs which mentions none.
func needed(shape task.Resources) task.Resources {
	if shape.Has(task.CPU) {
		return shape
	}
	return shape.With(task.Amount{Name: task.CPU, Value: 1000})
}

func randomResources(r *rand.Rand) task.Resources {
	var out task.Resources
	for _, name := range []string{"cpu", "gpu", "memory", "ssd"} {
		bits := 14 // sixteen of a thing
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
		t.Fatal(err)
	}
	return r
}
