package engine

import (
	"bytes"
	"fmt"
	"io"
	"reflect"

	"github.com/tidemill/tidemill/engine/session"
	"github.com/tidemill/tidemill/engine/task"
)

// A Ref is valid only in the program that made it, so every encoder and decoder refuses it; Export is the way to hand a
// value to another program. The engine's own encoding has a placeholder in its place (see plan), and only placeholders
// have a CBOR form.

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

// Format prints the type of the Ref. It prints nothing that identifies the value, so that nobody can pass a Ref on as text.
func (r Ref[T]) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "Ref["+reflect.TypeFor[T]().String()+"](valid only in its program: see Export)")
}

// placeholderTag is the CBOR tag of the placeholder of a Ref: a number that the IANA registry of tags has not assigned.
// The tags that follow it are those of Arrow data (placeholderTags).
const placeholderTag = 1_953_064_037 // "tide"

// placeholderHead is the encoded head of the tag: major type 6 with a number of four bytes (RFC 8949, section 3).
const placeholderHead = "\xdatide"

// MarshalCBOR encodes a placeholder, which the engine has put in the place of the Ref, and returns ErrOutOfBand for a Ref.
func (r Ref[T]) MarshalCBOR() ([]byte, error) {
	index, ok := r.h.Hole()
	if !ok {
		return nil, ErrOutOfBand
	}
	return task.AppendInt(append(make([]byte, 0, len(placeholderHead)+9), placeholderHead...), int64(index)), nil
}

// UnmarshalCBOR decodes a placeholder, and returns ErrOutOfBand for anything else. The Ref cannot be used until the engine
// has replaced the placeholder.
func (r *Ref[T]) UnmarshalCBOR(data []byte) error {
	rest, tagged := bytes.CutPrefix(data, []byte(placeholderHead))
	index, ok := task.ReadInt(rest)
	if !tagged || !ok || index < 0 || index > nilRef {
		return ErrOutOfBand
	}
	r.h = session.Hole(int(index))
	return nil
}

func (r *Ref[T]) handle() *session.Handle { return r.h }

func (r *Ref[T]) setHandle(h *session.Handle) { r.h = h }
