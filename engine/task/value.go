package task

// ValueType says how a value's bytes are to be read. The numbers are part of the wire.
type ValueType uint8

// The types of values.
const (
	CBOR  ValueType = iota // RFC 8949, core deterministic
	Bytes                  // a []byte as it is
	Text                   // a string as it is
)

// Value is an encoded input or result. It is immutable once it was given to a session or came from a
// queue, and its bytes may belong to a message: whoever keeps one for long copies it.
type Value struct {
	Type ValueType
	Data []byte
}
