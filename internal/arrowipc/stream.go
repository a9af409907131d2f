package arrowipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Encode returns a stream of records of one schema. It writes the stream twice, first only to find its length, so that the
// bytes are copied once.
func Encode(schema *arrow.Schema, records ...arrow.RecordBatch) (out []byte, err error) {
	defer recovered(&err)
	var size counter
	if err := write(&size, schema, records); err != nil {
		return nil, err
	}
	buf := bytes.NewBuffer(make([]byte, 0, size))
	if err := write(buf, schema, records); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func write(to io.Writer, schema *arrow.Schema, records []arrow.RecordBatch) error {
	w := ipc.NewWriter(to, ipc.WithSchema(schema))
	for _, r := range records {
		if err := w.Write(r); err != nil {
			return fmt.Errorf("arrowipc: write a record: %w", err)
		}
	}
	return w.Close()
}

// Decode reads a stream. The buffers of the records are parts of data, which must not be changed while they are in use. They
// need not be released: the garbage collector frees them. The cost does not depend on the length of the records, so offsets
// within their buffers are not checked: a wrong one panics when it is used.
func Decode(data []byte) (schema *arrow.Schema, records []arrow.RecordBatch, err error) {
	defer recovered(&err)
	m := &messages{root: memory.NewBufferBytes(aligned(data))}
	reader, err := ipc.NewReaderFromMessageReader(m, ipc.WithAllocator(memory.NewGoAllocator()))
	if err != nil {
		return nil, nil, fmt.Errorf("arrowipc: read a schema: %w", err)
	}
	schema = reader.Schema()
	if m.want, err = wantsOf(schema, m.root.Bytes()[8:m.bodyAt]); err != nil {
		return nil, nil, err
	}
	for reader.Next() {
		r := reader.RecordBatch()
		r.Retain()
		records = append(records, r)
	}
	if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("arrowipc: read a record: %w", err)
	}
	return schema, records, nil
}

// recovered turns a panic into an error: Arrow panics if parts of a record do not match.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("arrowipc: %v", p)
	}
}

// alignment is what Arrow's writers align buffers to, in bytes.
const alignment = 8

// aligned returns the data at an aligned address. Large values are at one already.
func aligned(data []byte) []byte {
	if len(data) == 0 || uintptr(unsafe.Pointer(unsafe.SliceData(data)))%alignment == 0 {
		return data
	}
	words := make([]uint64, (len(data)+alignment-1)/alignment)
	own := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(data))
	copy(own, data)
	return own
}

// messages reads the messages of a stream in memory without copying them. The ipc package has no such reader.
type messages struct {
	root   *memory.Buffer
	at     int
	want   *wants // what messages after the schema, which is the first, must have; nil = they are not read yet
	bodyAt int    // where the body of the newest message begins
	now    *ipc.Message
}

// Retain does nothing: the garbage collector frees the buffer.
func (m *messages) Retain() {}

// Release does nothing.
func (m *messages) Release() {}

const continuation = 0xffffffff

// Message returns the next message, io.EOF at the end. It implements ipc.MessageReader.
func (m *messages) Message() (*ipc.Message, error) {
	rest := m.root.Bytes()[m.at:]
	if len(rest) < 8 || m.want == nil && m.at > 0 {
		return nil, io.EOF
	}
	if binary.LittleEndian.Uint32(rest) != continuation {
		return nil, fmt.Errorf("arrowipc: no message at byte %d: want it to begin with %#x", m.at, uint32(continuation))
	}
	size := int(int32(binary.LittleEndian.Uint32(rest[4:])))
	if size == 0 {
		return nil, io.EOF
	}
	if size < 8 || size > len(rest)-8 {
		return nil, fmt.Errorf("arrowipc: metadata of %d bytes, with %d bytes left in the stream", size, len(rest)-8)
	}
	body, err := verify(rest[8:8+size], int64(len(rest)-8-size))
	if err == nil && m.at > 0 {
		err = m.want.fits(rest[8 : 8+size])
	}
	if err != nil {
		return nil, err
	}
	m.bodyAt = m.at + 8 + size
	m.now = ipc.NewMessage(memory.SliceBuffer(m.root, m.at+8, size), memory.SliceBuffer(m.root, m.at+8+size, int(body)))
	m.at += 8 + size + int(body)
	return m.now, nil
}

// Table returns the records as a table.
func Table(schema *arrow.Schema, records []arrow.RecordBatch) arrow.Table {
	return array.NewTableFromRecords(schema, records)
}

// RecordsOf returns the records of a table, one for each chunk.
func RecordsOf(t arrow.Table) (records []arrow.RecordBatch) {
	reader := array.NewTableReader(t, 0)
	defer reader.Release()
	for reader.Next() {
		r := reader.RecordBatch()
		r.Retain()
		records = append(records, r)
	}
	return records
}
