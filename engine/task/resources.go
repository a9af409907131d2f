package task

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// The two resources that every node has.
const (
	CPU    = "cpu"
	Memory = "memory"
)

// Amount is so much of one resource: bytes of memory, thousandths of anything else.
type Amount struct {
	Name  string
	Value int64
}

// Resources are what a task needs or a node has, sorted by name, each name once. The zero value is
// nothing at all.
type Resources []Amount

var resourceName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// maxAmount bounds every amount, so that sums cannot overflow: a pebibyte, or 10^12 of a thing.
const maxAmount = 1 << 50

// NewResources returns amounts as they are written by people: CPUs and custom resources as numbers
// with up to three decimals, memory in bytes. A zero amount is kept, since cpu=0 has a meaning.
func NewResources(amounts map[string]float64) (Resources, error) {
	r := make(Resources, 0, len(amounts))
	for name, n := range amounts {
		a, err := newAmount(name, n)
		if err != nil {
			return nil, err
		}
		r = append(r, a)
	}
	r.sort()
	return r, nil
}

func (r Resources) sort() {
	slices.SortFunc(r, func(a, b Amount) int { return cmp.Compare(a.Name, b.Name) })
}

func newAmount(name string, n float64) (Amount, error) {
	if !resourceName.MatchString(name) {
		return Amount{}, fmt.Errorf("task: resource name %q: want a letter, then up to 63 of a-z, 0-9 and _", name)
	}
	scaled := n
	if name != Memory {
		scaled = math.Round(n * 1000)
	}
	switch {
	case math.IsNaN(n) || n < 0 || scaled > maxAmount:
		return Amount{}, fmt.Errorf("task: resource %s=%v: not an amount", name, n)
	case n > 0 && scaled < 1:
		return Amount{}, fmt.Errorf("task: resource %s=%v: the least amount is %s", name, n, Amount{name, 1}.number("."))
	}
	return Amount{name, int64(scaled)}, nil
}

// Check returns an error unless the amounts are as NewResources makes them: what came from elsewhere is
// looked at before it is used.
func (r Resources) Check() error {
	for i, a := range r {
		if !resourceName.MatchString(a.Name) || a.Value < 0 || a.Value > maxAmount || i > 0 && r[i-1].Name >= a.Name {
			return fmt.Errorf("task: amount %d of %q at %d of %d", a.Value, a.Name, i, len(r))
		}
	}
	return nil
}

// Of returns how much of the named resource there is, 0 if it is not mentioned.
func (r Resources) Of(name string) int64 {
	for _, a := range r {
		if a.Name == name {
			return a.Value
		}
	}
	return 0
}

// Has reports whether the resource is mentioned at all, be it with 0.
func (r Resources) Has(name string) bool {
	return slices.ContainsFunc(r, func(a Amount) bool { return a.Name == name })
}

// With returns r with this amount in the place of the one that it had.
func (r Resources) With(a Amount) Resources {
	out := slices.DeleteFunc(slices.Clone(r), func(b Amount) bool { return b.Name == a.Name })
	at, _ := slices.BinarySearchFunc(out, a, func(x, y Amount) int { return cmp.Compare(x.Name, y.Name) })
	return slices.Insert(out, at, a)
}

// Understood returns r with the one CPU that is understood where CPUs are not mentioned.
func (r Resources) Understood() Resources {
	if r.Has(CPU) {
		return r
	}
	return r.With(Amount{CPU, 1000})
}

// Fits reports whether all of r is within what have has.
func (r Resources) Fits(have Resources) bool {
	for _, a := range r {
		if a.Value > have.Of(a.Name) {
			return false
		}
	}
	return true
}

// Less returns what is left of r without what is taken of it; nothing becomes less than nothing.
func (r Resources) Less(taken Resources) Resources {
	out := slices.Clone(r)
	for i := range out {
		out[i].Value = max(0, out[i].Value-taken.Of(out[i].Name))
	}
	return out
}

// And returns r with more, amounts of the same name added.
func (r Resources) And(more Resources) Resources {
	for _, a := range more {
		a.Value = min(a.Value+r.Of(a.Name), maxAmount)
		r = r.With(a)
	}
	return r
}

// Split returns the CPUs, which a task lends while it waits, and all else of r, which it keeps.
func (r Resources) Split() (cpus, kept Resources) {
	for _, a := range r {
		switch {
		case a.Name == CPU:
			cpus = Resources{a}
		case a.Value > 0:
			kept = append(kept, a)
		}
	}
	return cpus, kept
}

// Times returns how often r fits into what have has; a shape that needs nothing fits once for every
// thousandth of a CPU, so that no shape is boundless.
func (r Resources) Times(have Resources) int {
	times := have.Of(CPU)
	for _, a := range r {
		if a.Value > 0 {
			times = min(times, have.Of(a.Name)/a.Value)
		}
	}
	return int(times)
}

// String returns the amounts for people: cpu=4 memory=8Gi ssd=1.
func (r Resources) String() string {
	words := make([]string, len(r))
	for i, a := range r {
		words[i] = a.Name + "=" + a.number(".")
	}
	return strings.Join(words, " ")
}
