package arrowipc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The metadata of a message is a flatbuffer (https://flatbuffers.dev/internals/). Here it is checked that all its offsets,
// lengths and tables are within it, so that following them is safe and costs no more than its length; and that the buffers of
// a record are within its body. The tables are those of Arrow's format/Message.fbs and Schema.fbs.

// table has the type of a table: its fields by slot. Slots that are not listed are scalars.
type table map[int]slot

// slot is the type of one field of a table.
type slot struct {
	kind    slotKind
	of      *table          // type of a table, or of the tables of a list
	bytes   int             // size of a scalar, or of an element of a list of scalars
	choice  map[byte]*table // types of a union, by the number in the slot before
	unknown *table          // type of a union for numbers that are not in choice; nil = an error
}

type slotKind uint8

const (
	scalar slotKind = iota
	text
	one
	list   // of scalars or structs
	tables // a list of tables
	union
)

var (
	leaf     = &table{}
	keyValue = &table{0: {kind: text}, 1: {kind: text}}
	typeInt  = &table{0: {bytes: 4}, 1: {bytes: 1}}
	types    = map[byte]*table{
		10: {0: {bytes: 2}, 1: {kind: text}},           // timestamp: unit, time zone
		14: {0: {bytes: 2}, 1: {kind: list, bytes: 4}}, // union: mode, type IDs
	}
	dictionary = &table{0: {bytes: 8}, 1: {kind: one, of: typeInt}, 2: {bytes: 1}, 3: {bytes: 2}}
	field      = &table{}
	schema     = &table{
		0: {bytes: 2}, 1: {kind: tables, of: field}, 2: {kind: tables, of: keyValue}, 3: {kind: list, bytes: 8},
	}
	recordBatch = &table{
		0: {bytes: 8}, 1: {kind: list, bytes: 16}, 2: {kind: list, bytes: 16}, 3: {kind: one, of: leaf}, 4: {kind: list, bytes: 8},
	}
	dictionaryBatch = &table{0: {bytes: 8}, 1: {kind: one, of: recordBatch}, 2: {bytes: 1}}
	message         = &table{
		0: {bytes: 2}, 1: {bytes: 1},
		2: {kind: union, choice: map[byte]*table{1: schema, 2: dictionaryBatch, 3: recordBatch}},
		3: {bytes: 8}, 4: {kind: tables, of: keyValue},
	}
)

func init() { // here, since a field has fields as children
	*field = table{
		0: {kind: text}, 1: {bytes: 1}, 2: {bytes: 1}, 3: {kind: union, choice: types, unknown: leaf},
		4: {kind: one, of: dictionary}, 5: {kind: tables, of: field}, 6: {kind: tables, of: keyValue},
	}
}

// version5 is the metadata version V5, which all writers have used since 2020.
const version5 = 4

// maxNesting is how deeply tables may be nested.
const maxNesting = 64

var (
	errOutside = errors.New("an offset or a length exceeds the data")
	errNesting = errors.New("nested too deeply")
	errShared  = errors.New("more tables than the length allows: some are shared")
)

// verifier verifies the metadata of one message.
type verifier struct {
	data []byte
	left int // how many tables may follow
}

// verify verifies the metadata of a message, and returns the length of its body, for which left bytes are left in the stream.
func verify(data []byte, left int64) (body int64, err error) {
	v := &verifier{data: data, left: len(data)/4 + 1}
	root, err := v.follow(0)
	if err == nil {
		err = v.table(root, message, maxNesting)
	}
	if err == nil {
		if at := v.at(root, 3); at != 0 {
			body = v.long(at)
		}
		if body < 0 || body > left {
			err = fmt.Errorf("a body of %d bytes, with %d bytes left in the stream", body, left)
		}
	}
	if err == nil {
		err = v.buffers(root, body)
	}
	if err != nil {
		return 0, fmt.Errorf("arrowipc: metadata of %d bytes: %w", len(data), err)
	}
	return body, nil
}

// in reports whether n bytes at this position are within the data.
func (v *verifier) in(at, n int) bool { return at >= 0 && n >= 0 && at <= len(v.data)-n }

// follow returns the position that the offset at this position refers to.
func (v *verifier) follow(at int) (int, error) {
	if !v.in(at, 4) {
		return 0, errOutside
	}
	to := at + int(binary.LittleEndian.Uint32(v.data[at:]))
	if to <= at || !v.in(to, 4) {
		return 0, errOutside
	}
	return to, nil
}

// at returns the position of a slot of the table at pos, 0 if the table does not have it.
func (v *verifier) at(pos, slot int) int {
	vtable := pos - int(int32(binary.LittleEndian.Uint32(v.data[pos:])))
	if entry := 4 + 2*slot; entry+2 <= int(binary.LittleEndian.Uint16(v.data[vtable:])) {
		if offset := int(binary.LittleEndian.Uint16(v.data[vtable+entry:])); offset != 0 {
			return pos + offset
		}
	}
	return 0
}

// table verifies a table and all that it refers to.
func (v *verifier) table(pos int, t *table, depth int) error {
	if v.left--; v.left < 0 {
		return errShared
	}
	if depth == 0 {
		return errNesting
	}
	if !v.in(pos, 4) {
		return errOutside
	}
	vtable := pos - int(int32(binary.LittleEndian.Uint32(v.data[pos:])))
	if !v.in(vtable, 4) {
		return errOutside
	}
	size, has := int(binary.LittleEndian.Uint16(v.data[vtable:])), int(binary.LittleEndian.Uint16(v.data[vtable+2:]))
	if size < 4 || size%2 != 0 || !v.in(vtable, size) || !v.in(pos, has) {
		return errOutside
	}
	for i := range (size - 4) / 2 {
		at := v.at(pos, i)
		if at == 0 {
			continue
		}
		s, width := (*t)[i], 4 // that of an offset
		if s.kind == scalar {
			width = max(s.bytes, 1)
		}
		if at < pos+4 || at+width > pos+has {
			return errOutside
		}
		if err := v.slot(pos, i, s, depth); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) slot(pos, i int, s slot, depth int) error {
	if s.kind == scalar {
		return nil
	}
	to, err := v.follow(v.at(pos, i))
	if err != nil {
		return err
	}
	switch s.kind {
	case text:
		return v.list(to, 1)
	case list:
		return v.list(to, s.bytes)
	case one:
		return v.table(to, s.of, depth-1)
	case tables:
		return v.tables(to, s.of, depth)
	default:
		kind := byte(0)
		if at := v.at(pos, i-1); at != 0 {
			kind = v.data[at]
		}
		return v.union(to, kind, s, depth)
	}
}

func (v *verifier) list(at, itemBytes int) error {
	if n := binary.LittleEndian.Uint32(v.data[at:]); uint64(n)*uint64(itemBytes) > uint64(len(v.data)-at-4) {
		return errOutside
	}
	return nil
}

func (v *verifier) tables(at int, t *table, depth int) error {
	if err := v.list(at, 4); err != nil {
		return err
	}
	for i := range int(binary.LittleEndian.Uint32(v.data[at:])) {
		to, err := v.follow(at + 4 + 4*i)
		if err == nil {
			err = v.table(to, t, depth-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) union(to int, kind byte, s slot, depth int) error {
	t := s.choice[kind]
	if t == nil {
		t = s.unknown
	}
	if t == nil {
		return fmt.Errorf("a message of type %d, want a schema, dictionary or record", kind)
	}
	return v.table(to, t, depth-1)
}

// buffers checks that the buffers of a record are within its body, and that the body is not compressed. The tables were
// verified.
func (v *verifier) buffers(root int, body int64) error {
	header := v.at(root, 2)
	kind := v.at(root, 1)
	if header == 0 || kind == 0 {
		return errors.New("a message without a header")
	}
	if version := v.at(root, 0); version == 0 || binary.LittleEndian.Uint16(v.data[version:]) != version5 {
		return errors.New("a message with another metadata version, want V5")
	}
	batch := v.to(header)
	switch v.data[kind] {
	case 2:
		data := v.at(batch, 1)
		if data == 0 {
			return errors.New("a dictionary without data")
		}
		batch = v.to(data)
	case 3:
	default:
		return nil
	}
	if v.at(batch, 3) != 0 {
		return errors.New("a compressed body: write the stream without compression")
	}
	if err := v.each(batch, 1, 16, func(at int) bool { return v.long(at) >= 0 && v.long(at+8) >= 0 && v.long(at+8) <= v.long(at) }); err != nil {
		return fmt.Errorf("the length of a node: %w", err)
	}
	err := v.each(batch, 2, 16, func(at int) bool {
		offset, length := v.long(at), v.long(at+8)
		return offset >= 0 && length >= 0 && offset <= body && length <= body-offset
	})
	if err != nil {
		return fmt.Errorf("the position of a buffer: %w", err)
	}
	total := int64(0)
	count := v.count(batch, 2)
	return v.each(batch, 4, 8, func(at int) bool {
		n := v.long(at)
		total += max(n, 0)
		return n >= 0 && total <= int64(count)
	})
}

// to is follow for verified data.
func (v *verifier) to(at int) int { return at + int(binary.LittleEndian.Uint32(v.data[at:])) }

func (v *verifier) long(at int) int64 { return int64(binary.LittleEndian.Uint64(v.data[at:])) }

// count returns the length of the list in a slot.
func (v *verifier) count(pos, slot int) int {
	at := v.at(pos, slot)
	if at == 0 {
		return 0
	}
	return int(binary.LittleEndian.Uint32(v.data[v.to(at):]))
}

// each calls good with the position of each element of the list in a slot. It returns errOutside if one is not good.
func (v *verifier) each(pos, slot, itemBytes int, good func(at int) bool) error {
	at := v.at(pos, slot)
	if at == 0 {
		return nil
	}
	first := v.to(at) + 4
	for i := range v.count(pos, slot) {
		if !good(first + i*itemBytes) {
			return errOutside
		}
	}
	return nil
}
