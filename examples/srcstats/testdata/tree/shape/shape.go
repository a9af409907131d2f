package shape

import (
	"fmt"
	math "math"
)

// Pair is generic.
type Pair[K comparable, V any] struct {
	Key   K
	Value V
}

// String has a receiver with type parameters.
func (p *Pair[K, V]) String() string {
	return fmt.Sprint(p.Key, p.Value)
}

type Circle float64

func (c Circle) Area() float64 {
	return math.Pi * float64(c*c)
}

// Fast is written in assembly.
func Fast(a, b int) int
