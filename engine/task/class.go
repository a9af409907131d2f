package task

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	_ "github.com/tidemill/tidemill/internal/platform" // refuses 32-bit platforms
)

// Class is a shape of resources as text, and the name of the queue of all tasks of that shape: cpu, cpu=4, gpu=0_5,
// cpu_only_node, cpu=4-gpu=2, memory=8Gi-ssd. Names are in alphabetical order; an amount of 1 is left out, and so is one CPU
// beside another resource. An agent pulls only from classes that fit its node.
type Class string

// The smallest amounts that shapes are rounded up to.
const (
	leastCPU    = 250       // thousandths
	leastMemory = 256 << 20 // bytes
)

var errEmptyShape = errors.New("task: a shape without resources: CPUs(0) needs another resource beside it, such as Memory(256<<20) or Resource(\"db\", 1); the least amount of CPUs is 0.25")

// ClassOf returns the class of a shape, with amounts rounded up so that the number of queues is bounded: CPUs to 0.25, 0.5,
// 1, 2, 4, …; memory to powers of two from 256 MiB; others as they are. If the rounded amount is more than the largest node
// has, it is cut to what that node has, if that is enough (five CPUs on a node of six are cpu=6). A shape without an amount
// of CPUs needs one.
func ClassOf(shape, largest Resources) (Class, Resources, error) {
	shape = shape.Understood()
	rounded := make(Resources, 0, len(shape))
	for _, a := range shape {
		amount := a.Value
		switch {
		case a.Value == 0 && a.Name != CPU:
			continue
		case a.Name == CPU:
			amount = roundUp(a.Value, leastCPU)
		case a.Name == Memory:
			amount = roundUp(a.Value, leastMemory)
		}
		if top := largest.Of(a.Name); amount > top && a.Value <= top {
			amount = top
		}
		rounded = append(rounded, Amount{a.Name, amount})
	}
	if len(rounded) == 1 && rounded.Of(CPU) == 0 {
		return "", nil, errEmptyShape
	}
	class := rounded.class()
	if len(class) > maxClass {
		return "", nil, fmt.Errorf("task: the shape %s has a class name of %d bytes, at most %d: use fewer or shorter resource names", rounded, len(class), maxClass)
	}
	return class, rounded, nil
}

// maxClass bounds the name of a class in bytes: it is part of a stream's name.
const maxClass = 180

// roundUp returns the first of least, 2·least, 4·least, … that is at least n, at most maxAmount, and 0 for 0.
func roundUp(n, least int64) int64 {
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

// number returns the amount as text with this decimal point: 4, 0_5, 8Gi, 768Mi, 1000 (bytes).
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

// Parse returns the resources of the class. It is the inverse of ClassOf: a class that ClassOf would write differently is an
// error.
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
			return nil, fmt.Errorf("task: class %q: resource %q is no valid name, or is given twice", c, name)
		}
		r = append(r, a)
	}
	r.sort()
	written, r, err := ClassOf(r, r) // cut to the given amounts, so that they are not rounded
	if err != nil {
		return nil, fmt.Errorf("task: class %q: %w", c, err)
	}
	if written != c {
		return nil, fmt.Errorf("task: class %q: want it written as %q", c, written)
	}
	return r, nil
}

func parseNumber(name, number string) (int64, error) {
	if name != Memory {
		n, err := strconv.ParseFloat(strings.Replace(number, "_", ".", 1), 64)
		if err != nil {
			return 0, fmt.Errorf("amount %q of %s: want a number", number, name)
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
		return 0, fmt.Errorf("amount %q of memory: want a whole number, and Ki, Mi, Gi or Ti behind it for units", number)
	}
	return n * scale, nil
}
