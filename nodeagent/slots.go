package nodeagent

import (
	"sync"
	"sync/atomic"

	"github.com/tidemill/tidemill/engine/task"
	"github.com/tidemill/tidemill/internal/invariant"
)

// slots are an agent's account of its resources. A slot is the resources that one task of a given shape needs. What is taken
// never exceeds what the agent has, but for CPUs that waiting tasks take back. The zero value has nothing.
type slots struct {
	mu   sync.Mutex
	has  task.Resources // fixed
	free []int64        // guarded by mu; parallel to has. Invariant: at most what it has; below 0 only for CPUs taken back
	over atomic.Bool    // some of free are below 0
}

// newSlots returns an account of which nothing is taken.
func newSlots(has task.Resources) *slots {
	s := &slots{has: has, free: make([]int64, len(has))}
	for i, a := range has {
		s.free[i] = a.Value
	}
	return s
}

// Take takes a slot of the shape if it is free, and reports whether it did. A resource in reserved is treated as used up: it
// is kept for an older batch. If the slot is not free, what it lacks is added to reserved.
func (s *slots) Take(shape task.Resources, reserved map[string]bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	fits := true
	var lacks []string
	for _, a := range shape {
		if a.Value == 0 {
			continue
		}
		i := s.index(a.Name)
		if reserved[a.Name] {
			fits = false
		}
		if i < 0 || s.free[i] < a.Value {
			fits, lacks = false, append(lacks, a.Name)
		}
	}
	if !fits {
		for _, name := range lacks {
			reserved[name] = true
		}
		return false
	}
	s.add(shape, -1)
	return true
}

// Give gives a slot back.
func (s *slots) Give(shape task.Resources) { s.change(shape, 1) }

func (s *slots) change(shape task.Resources, sign int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(shape, sign)
}

// Room reports whether a slot of the shape is free now.
func (s *slots) Room(shape task.Resources) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range shape {
		if a.Value > 0 && s.free[s.index(a.Name)] < a.Value {
			return false
		}
	}
	return true
}

// Free returns how many slots of the shape are free now.
func (s *slots) Free(shape task.Resources) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.free[s.index(task.CPU)]
	for _, a := range shape {
		if a.Value > 0 {
			n = min(n, s.free[s.index(a.Name)]/a.Value)
		}
	}
	return int(max(0, n))
}

// Force takes back what was yielded, whether it is free or not.
func (s *slots) Force(shape task.Resources) { s.change(shape, -1) }

// Over reports whether more is taken than there is: slots that can end are to do so.
func (s *slots) Over() bool { return s.over.Load() }

func (s *slots) add(shape task.Resources, sign int64) {
	for _, a := range shape {
		if i := s.index(a.Name); i >= 0 {
			s.free[i] += sign * a.Value
			invariant.Check(s.free[i] <= s.has[i].Value && (s.free[i] >= 0 || a.Name == task.CPU),
				"slots: %d of %d %s are free", s.free[i], s.has[i].Value, a.Name)
		}
	}
	over := false
	for _, free := range s.free {
		over = over || free < 0
	}
	s.over.Store(over)
}

func (s *slots) index(name string) int {
	for i := range s.has {
		if s.has[i].Name == name {
			return i
		}
	}
	return -1
}

// All reports whether all of it is free.
func (s *slots) All() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.has {
		if s.free[i] != s.has[i].Value {
			return false
		}
	}
	return true
}
