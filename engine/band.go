package engine

import (
	"bytes"
	"fmt"
	"io"
	"reflect"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// A Ref means nothing outside of its program, so every encoding refuses it, there and back; Export is the way out.
// The engine's own encoding has a hole in its place (see plan), which is the one thing that has a form.

// MarshalJSON returns ErrOutOfBand.
func (r Ref[T]) MarshalJSON() ([]byte, error) { return nil, ErrOutOfBand }

// UnmarshalJSON returns ErrOutOfBand.
func (r *Ref[T]) UnmarshalJSON([]byte) error { return ErrOutOfBand }

// MarshalText returns ErrOutOfBand.
func (r Ref[T]) MarshalText() ([]byte, error) { return nil, ErrOutOfBand }

// UnmarshalText returns ErrOutOfBand.
func (r *Ref[T]) UnmarshalText([]byte) error { return ErrOutOfBand }

// MarshalBinary returns ErrOutOfBand.
func (r Ref[T]) MarshalBinary() ([]byte, error) { return nil, ErrOutOfBand }

// UnmarshalBinary returns ErrOutOfBand.
func (r *Ref[T]) UnmarshalBinary([]byte) error { return ErrOutOfBand }

// GobEncode returns ErrOutOfBand.
func (r Ref[T]) GobEncode() ([]byte, error) { return nil, ErrOutOfBand }

// GobDecode returns ErrOutOfBand.
func (r *Ref[T]) GobDecode([]byte) error { return ErrOutOfBand }

// Format prints what kind of Ref it is, and nothing by which it could be found.
func (r Ref[T]) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "Ref["+reflect.TypeFor[T]().String()+"](only in its program: see Export)")
}

// holeTag is the CBOR tag of a hole: a number that the registry has given to nobody.
const holeTag = 1_953_064_037 // "tide"

// holeHead is the tag's head: of a tag with four bytes (RFC 8949, 3.4).
const holeHead = "\xdatide"

// MarshalCBOR returns ErrOutOfBand, unless the engine has put a hole into the Ref's place.
func (r Ref[T]) MarshalCBOR() ([]byte, error) {
	index, hole := r.h.Hole()
	if !hole {
		return nil, ErrOutOfBand
	}
	return task.AppendInt(append(make([]byte, 0, len(holeHead)+9), holeHead...), int64(index)), nil
}

// UnmarshalCBOR takes a hole, and returns ErrOutOfBand for anything else. A Ref with a hole refers to nothing until
// the engine fills it.
func (r *Ref[T]) UnmarshalCBOR(data []byte) error {
	rest, is := bytes.CutPrefix(data, []byte(holeHead))
	index, ok := task.ReadInt(rest)
	if !is || !ok || index < 0 || index > noPart {
		return ErrOutOfBand
	}
	r.h = session.Hole(int(index))
	return nil
}

func (r *Ref[T]) handle() *session.Handle { return r.h }

func (r *Ref[T]) setHandle(h *session.Handle) { r.h = h }
