package task

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
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

// Amount is an amount of one resource, in bytes for memory and in thousandths for all others.
type Amount struct {
	Name  string
	Value int64
}

// Resources are what a task needs or a node has: amounts sorted by name, each name once. The zero value is no resources.
type Resources []Amount

var resourceName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// maxAmount bounds every amount, so that sums do not overflow: a pebibyte of memory, about 10^12 of others.
const maxAmount = 1 << 50

// NewResources returns resources from amounts as users write them: CPUs and custom resources with up to three decimals,
// memory in bytes. A zero amount is kept, since cpu=0 differs from no cpu.
func NewResources(amounts map[string]float64) (Resources, error) {
	r, errs := make(Resources, 0, len(amounts)), []error(nil)
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		a, err := newAmount(name, amounts[name])
		r, errs = append(r, a), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
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
		return Amount{}, fmt.Errorf("task: resource %s=%v: want an amount from 0 to %s", name, n, Amount{name, maxAmount}.number("."))
	case n > 0 && scaled < 1:
		return Amount{}, fmt.Errorf("task: resource %s=%v: want 0 or at least %s", name, n, Amount{name, 1}.number("."))
	}
	return Amount{name, int64(scaled)}, nil
}

// Check returns an error unless the amounts are as NewResources makes them. Resources that came in a message are checked
// before use.
func (r Resources) Check() error {
	for i, a := range r {
		if !resourceName.MatchString(a.Name) || a.Value < 0 || a.Value > maxAmount || i > 0 && r[i-1].Name >= a.Name {
			return fmt.Errorf("task: resource %d of %d, %d of %q: want valid names in order, and amounts from 0 to %d", i+1, len(r), a.Value, a.Name, int64(maxAmount))
		}
	}
	return nil
}

// Of returns the amount of the named resource, 0 if there is none.
func (r Resources) Of(name string) int64 {
	for _, a := range r {
		if a.Name == name {
			return a.Value
		}
	}
	return 0
}

// Has reports whether r has an amount of the resource, even one of 0.
func (r Resources) Has(name string) bool {
	return slices.ContainsFunc(r, func(a Amount) bool { return a.Name == name })
}

// With returns r with the amount of this resource set to a. r stays as it is.
func (r Resources) With(a Amount) Resources {
	out := slices.DeleteFunc(slices.Clone(r), func(b Amount) bool { return b.Name == a.Name })
	at, _ := slices.BinarySearchFunc(out, a, func(x, y Amount) int { return cmp.Compare(x.Name, y.Name) })
	return slices.Insert(out, at, a)
}

// Understood returns r with the default of one CPU if r has no amount of CPUs.
func (r Resources) Understood() Resources {
	if r.Has(CPU) {
		return r
	}
	return r.With(Amount{CPU, 1000})
}

// Fits reports whether have has at least every amount of r.
func (r Resources) Fits(have Resources) bool {
	for _, a := range r {
		if a.Value > have.Of(a.Name) {
			return false
		}
	}
	return true
}

// Less returns what is left of r when so much is taken from it, at least 0 of each resource.
func (r Resources) Less(taken Resources) Resources {
	out := slices.Clone(r)
	for i := range out {
		out[i].Value = max(0, out[i].Value-taken.Of(out[i].Name))
	}
	return out
}

// And returns the sum of r and more.
func (r Resources) And(more Resources) Resources {
	for _, a := range more {
		a.Value = min(a.Value+r.Of(a.Name), maxAmount)
		r = r.With(a)
	}
	return r
}

// Split returns the CPUs of r, which a task yields while it is blocked, and all other resources, which it keeps.
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

// Times returns how many tasks that need r fit into have at a time. It is at most the number of thousandths of a CPU that
// have has, so that it is bounded for a shape that needs nothing, too.
func (r Resources) Times(have Resources) int {
	times := have.Of(CPU)
	for _, a := range r {
		if a.Value > 0 {
			times = min(times, have.Of(a.Name)/a.Value)
		}
	}
	return int(times)
}

// String returns the amounts as in cpu=4 memory=8Gi ssd=1.
func (r Resources) String() string {
	words := make([]string, len(r))
	for i, a := range r {
		words[i] = a.Name + "=" + a.number(".")
	}
	return strings.Join(words, " ")
}
