package session

import (
	"errors"
	"sync"

	"github.com/tidemill/tidemill/engine/task"
)

// A literal is a handle of no session, which has ended from the start: a value whose bytes are at hand, a failure, or a
// hole. It has no lock, since nothing of it changes.

// Local returns a literal with a value whose bytes are at hand, or with the failure that stands for one.
func Local(v task.Value) *Handle {
	if v.Type == task.Fault {
		return Failed(failureIn(v))
	}
	h := new(Handle)
	h.becomeLiteral(v)
	return h
}

func (h *Handle) becomeLiteral(v task.Value) {
	h.content = v
	h.ended.Store(true)
}

// Locals returns Local of each. Up to four handles share an allocation; one of them retains all.
func Locals(values []task.Value) []*Handle {
	if len(values) == 0 {
		return nil
	}
	handles := make([]*Handle, 0, len(values))
	shared := make([]Handle, min(len(values), fewLocals))
	for i, v := range values {
		if v.Type == task.Fault || i >= len(shared) {
			handles = append(handles, Local(v))
			continue
		}
		shared[i].becomeLiteral(v)
		handles = append(handles, &shared[i])
	}
	return handles
}

const fewLocals = 4

// failureIn returns what a Fault says.
func failureIn(v task.Value) error {
	f, err := task.DecodeFailure(v.Data)
	if err != nil {
		return err
	}
	return f
}

// Failed returns a literal with a failure as its outcome.
func Failed(failure error) *Handle {
	h := &Handle{outcome: outcome{failure: failure}}
	h.ended.Store(true)
	return h
}

// Value returns the value of a literal: a Fault where it is a task's failure. literal is false for any other handle.
func (h *Handle) Value() (v task.Value, literal bool) {
	if h.s != nil {
		return task.Value{}, false
	}
	if h.failure == nil {
		return h.content, true
	}
	f, failed := errors.AsType[*task.Failure](h.failure)
	if !failed {
		return task.Value{}, false
	}
	return task.Value{Type: task.Fault, Data: task.AppendFailure(nil, f)}, true
}

// NotSubmitted returns the failure of a handle made by Failed, nil for any other.
func (h *Handle) NotSubmitted() error {
	if h.s == nil {
		return h.failure
	}
	return nil
}

// Hole returns a literal that takes the place of another handle in an encoded value: a number. It refers to nothing else.
// There is one for each number.
func Hole(index int) *Handle {
	if h, ok := holes.Load(index); ok {
		return h.(*Handle)
	}
	made := Failed(errHole)
	made.tag, made.hole = int32(index), true
	h, _ := holes.LoadOrStore(index, made)
	return h.(*Handle)
}

var (
	holes   sync.Map // of *Handle by index
	errHole = errors.New("a Ref means nothing outside of its program")
)

// Hole returns the number of a handle made by Hole.
func (h *Handle) Hole() (index int, ok bool) {
	if h == nil || !h.hole {
		return 0, false
	}
	return int(h.tag), true
}
