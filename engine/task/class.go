package task

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Class is a shape of resources in words, and the name of the queue of all tasks of that shape: cpu,
// cpu=4, gpu=0_5, cpu_only_node, cpu=4-gpu=2, memory=8Gi-ssd. Names stand in alphabetical order; one CPU
// is understood where another resource is named, and an amount of 1 is left out. What an agent pulls
// from a class always fits the agent.
type Class string

// The rungs of the ladder below which shapes do not go.
const (
	leastCPU    = 250       // thousandths
	leastMemory = 256 << 20 // bytes
)

var errEmptyShape = errors.New("task: a shape needs some resource: CPUs(0) wants another one beside it")

// ClassOf returns the class of a shape, rounded up to the ladder, so that the number of queues is
// bounded: CPUs 0.25, 0.5, 1, 2, 4, …; memory in powers of two from 256 MiB; others as they are. A rung
// above what the largest node has is cut to what that node has, if that is enough (five CPUs on a node
// of six are cpu=6). A shape that does not mention CPUs needs one.
func ClassOf(shape, largest Resources) (Class, Resources, error) {
	shape = shape.Understood()
	rounded := make(Resources, 0, len(shape))
	for _, a := range shape {
		rung := a.Value
		switch {
		case a.Value == 0 && a.Name != CPU:
			continue
		case a.Name == CPU:
			rung = rungUp(a.Value, leastCPU)
		case a.Name == Memory:
			rung = rungUp(a.Value, leastMemory)
		}
		if top := largest.Of(a.Name); rung > top && a.Value <= top {
			rung = top
		}
		rounded = append(rounded, Amount{a.Name, rung})
	}
	if len(rounded) == 1 && rounded.Of(CPU) == 0 {
		return "", nil, errEmptyShape
	}
	class := rounded.class()
	if len(class) > maxClass {
		return "", nil, fmt.Errorf("task: the shape %s has a name of %d bytes, and %d is the most", rounded, len(class), maxClass)
	}
	return class, rounded, nil
}

// maxClass bounds a class's name, which is a part of a stream's name.
const maxClass = 180

// rungUp returns the least of least, 2·least, 4·least, … that is n or more, up to maxAmount; 0 stays 0.
func rungUp(n, least int64) int64 {
	if n == 0 {
		return 0
	}
	steps := (n + least - 1) / least
	return min(least<<bits.Len64(uint64(steps-1)), maxAmount)
}

func (r Resources) class() Class {
	var words []string
	for _, a := range r {
		switch {
		case a.Name == CPU && a.Value == 1000 && len(r) > 1:
		case a.Name != Memory && a.Value == 1000:
			words = append(words, a.Name)
		default:
			words = append(words, a.Name+"="+a.number("_"))
		}
	}
	return Class(strings.Join(words, "-"))
}

// number writes the amount with this decimal point: 4, 0_5, 8Gi, 768Mi, 1000 (bytes).
func (a Amount) number(point string) string {
	if a.Name == Memory {
		for _, unit := range units {
			if a.Value >= unit.bytes && a.Value%unit.bytes == 0 {
				return strconv.FormatInt(a.Value/unit.bytes, 10) + unit.name
			}
		}
		return strconv.FormatInt(a.Value, 10)
	}
	whole := strconv.FormatInt(a.Value/1000, 10)
	if a.Value%1000 == 0 {
		return whole
	}
	return whole + point + strings.TrimRight(fmt.Sprintf("%03d", a.Value%1000), "0")
}

var units = []struct {
	name  string
	bytes int64
}{{"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}}

// Parse returns the resources that the class stands for. It is the inverse of ClassOf: a word that
// ClassOf would have written in another way is an error.
func (c Class) Parse() (Resources, error) {
	var r Resources
	for word := range strings.SplitSeq(string(c), "-") {
		name, number, given := strings.Cut(word, "=")
		a := Amount{name, 1000}
		if given {
			var err error
			if a.Value, err = parseNumber(name, number); err != nil {
				return nil, fmt.Errorf("task: class %q: %w", c, err)
			}
		}
		if !resourceName.MatchString(name) || r.Has(name) {
			return nil, fmt.Errorf("task: class %q: resource %q", c, name)
		}
		r = append(r, a)
	}
	r.sort()
	written, r, err := ClassOf(r, r) // cut to the amounts given, which need not be rungs
	if err != nil {
		return nil, fmt.Errorf("task: class %q: %w", c, err)
	}
	if written != c {
		return nil, fmt.Errorf("task: class %q: would be written %q", c, written)
	}
	return r, nil
}

func parseNumber(name, number string) (int64, error) {
	if name != Memory {
		n, err := strconv.ParseFloat(strings.Replace(number, "_", ".", 1), 64)
		if err != nil {
			return 0, fmt.Errorf("amount %q of %s", number, name)
		}
		a, err := newAmount(name, n)
		return a.Value, err
	}
	scale := int64(1)
	for _, unit := range units {
		if digits, ok := strings.CutSuffix(number, unit.name); ok {
			number, scale = digits, unit.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > maxAmount/scale {
		return 0, fmt.Errorf("amount %q of memory", number)
	}
	return n * scale, nil
}
