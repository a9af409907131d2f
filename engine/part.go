package engine

import (
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/tidemill/tidemill/engine/task"
)

// A part is data inside a value that travels beside it, since it has an encoding of its own.
type part struct {
	encode func(v any) (task.Value, error)
	decode func(v *task.Value) (any, error)
	hole   func(index int) any // takes its place in the encoded value
	isHole func(v any) (index int, ok bool)
}

// partOf returns how values of a type travel as parts, nil if they do not.
func partOf(reflect.Type) *part { return nil }

// holes are the tags of what takes the place of parts.
var holes = cbor.NewTagSet()

func liftPart(place reflect.Value, to *parts) error { return nil }

func fillPart(place reflect.Value, from *filler) error { return nil }

func decodePart(place reflect.Value, v *task.Value) error { return nil }
