package task

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Version is the version of batches and records. It is part of the subject of batches, so that agents pull only batches that
// they can read.
const Version = 1

// Batch is one message with specs of one owner, class and level. Its tasks are sent, delivered and acked together, but run,
// fail and have their outcomes one by one. Written by session (outbox), read by nodeagent (claim).
type Batch struct {
	Owner string
	Scope string // of objects that its tasks make; "" = Owner
	Class Class
	Level Level
	Calls []Call // what several Specs have in common
	Specs []Spec
}

// ObjectScope returns the scope under which the tasks of the batch put objects.
func (b *Batch) ObjectScope() string { return cmp.Or(b.Scope, b.Owner) }

// Call is what several tasks of a batch have in common.
type Call struct {
	Func    string
	Retries int           // how many attempts may follow the first
	Timeout time.Duration // of one attempt; 0 = no limit
}

// Spec is one dispatch of a task.
type Spec struct {
	Number uint64 // of the task, see ID
	Digest Digest // of the task, in a named job
	Call   int    // index into the batch's Calls
	Dispatch
	Input Value
}

// Limits of one message. A message that exceeds them is refused by the decoder.
const (
	MaxSpecs    = 1 << 16
	MaxAttempts = 1 << 20
)

// Keys of a batch, a call and a spec. A key never gets another meaning.
const (
	batchVersion = 0
	batchOwner   = 1
	batchClass   = 2
	batchLevel   = 3
	batchCalls   = 4
	batchSpecs   = 5
	batchScope   = 6

	callFunc    = 1
	callRetries = 2
	callTimeout = 3 // nanoseconds

	specNumber  = 1
	specCall    = 2
	specAttempt = 3 // minus one; left out for the first
	specLosses  = 4
	specType    = 5
	specInput   = 6
	specDigest  = 7
	specObject  = 8
	specRefs    = 9
)

// SpecBytes is an upper limit of the bytes of an encoded spec without its input.
const SpecBytes = 64

// AppendBatch appends the batch to dst and returns the extended slice. It allocates only if the capacity of dst is too
// small.
func AppendBatch(dst []byte, b *Batch) []byte {
	n := uint64(6)
	if b.Scope != "" {
		n++
	}
	dst = appendHead(dst, majorMap, n)
	dst = appendUint(appendUint(dst, batchVersion), Version)
	dst = appendText(appendUint(dst, batchOwner), b.Owner)
	dst = appendText(appendUint(dst, batchClass), string(b.Class))
	dst = appendText(appendUint(dst, batchLevel), string(b.Level))
	dst = appendHead(appendUint(dst, batchCalls), majorArray, uint64(len(b.Calls)))
	for i := range b.Calls {
		dst = appendCall(dst, &b.Calls[i])
	}
	dst = appendHead(appendUint(dst, batchSpecs), majorArray, uint64(len(b.Specs)))
	for i := range b.Specs {
		dst = appendSpec(dst, &b.Specs[i])
	}
	if b.Scope != "" {
		dst = appendText(appendUint(dst, batchScope), b.Scope)
	}
	return dst
}

func appendCall(dst []byte, c *Call) []byte {
	retries, timeout := uint64(c.Retries), uint64(max(c.Timeout, 0))
	dst = appendHead(dst, majorMap, 1+fields(retries, timeout))
	dst = appendText(appendUint(dst, callFunc), c.Func)
	return appendField(appendField(dst, callRetries, retries), callTimeout, timeout)
}

func appendSpec(dst []byte, s *Spec) []byte {
	call, attempt, losses, kind := uint64(s.Call), attemptsBefore(s.Attempt), uint64(s.Losses), uint64(s.Input.Type)
	n := 2 + fields(call, attempt, losses, kind) + s.Input.externalFields()
	if !s.Digest.IsZero() {
		n++
	}
	dst = appendHead(dst, majorMap, n)
	dst = appendUint(appendUint(dst, specNumber), s.Number)
	dst = appendField(dst, specCall, call)
	dst = appendField(dst, specAttempt, attempt)
	dst = appendField(dst, specLosses, losses)
	dst = appendField(dst, specType, kind)
	dst = appendBytes(appendUint(dst, specInput), s.Input.inlineData())
	dst = appendDigest(dst, specDigest, &s.Digest)
	return s.Input.appendExternal(dst, specObject, specRefs)
}

// attemptsBefore returns how many attempts precede this one, 0 for an attempt of 0, too: a negative number could not be
// decoded.
func attemptsBefore(attempt int32) uint64 { return uint64(max(attempt-1, 0)) }

// DecodeBatch reads a batch into b, whose slices it reuses. Names and inputs are parts of data, which must not change
// afterwards. After an error, the content of b is undefined.
func DecodeBatch(data []byte, b *Batch) error {
	*b = Batch{Calls: b.Calls[:0], Specs: b.Specs[:0]}
	r := &reader{rest: data}
	version := uint64(0)
	for range r.count(majorMap, 2) {
		switch key := r.uint(); key {
		case batchVersion:
			version = r.uint()
		case batchOwner:
			b.Owner = r.text()
		case batchScope:
			b.Scope = r.text()
		case batchClass:
			b.Class = Class(r.text())
		case batchLevel:
			b.Level = Level(r.text())
		case batchCalls:
			b.readCalls(r)
		case batchSpecs:
			b.readSpecs(r)
		default:
			r.skip(maxSkipDepth)
		}
	}
	if err := r.end(version); err != nil {
		return fmt.Errorf("task: decode batch: %w", err)
	}
	return b.check()
}

// end returns what is wrong with a message after it was read: the first error, bytes after the end, or another version.
func (r *reader) end(version uint64) error {
	switch {
	case r.err != nil:
		return r.err
	case len(r.rest) > 0:
		return fmt.Errorf("%d bytes after the end", len(r.rest))
	case version != Version:
		return fmt.Errorf("version %d, want %d", version, Version)
	}
	return nil
}

func (b *Batch) readCalls(r *reader) {
	n := r.count(majorArray, 3)
	b.Calls = slices.Grow(b.Calls[:0], n)
	for range n {
		var c Call
		for range r.count(majorMap, 2) {
			switch r.uint() {
			case callFunc:
				c.Func = r.text()
			case callRetries:
				c.Retries = r.small(MaxAttempts)
			case callTimeout:
				c.Timeout = time.Duration(r.uint() & (1<<63 - 1))
			default:
				r.skip(maxSkipDepth)
			}
		}
		b.Calls = append(b.Calls, c)
	}
}

// specLeast is the length of the shortest spec: two keys, a number and an empty input.
const specLeast = 5

func (b *Batch) readSpecs(r *reader) {
	n := r.count(majorArray, specLeast)
	if n > MaxSpecs {
		r.fail(fmt.Errorf("%d specs, at most %d", n, MaxSpecs))
		return
	}
	b.Specs = slices.Grow(b.Specs[:0], n)
	for range n {
		if r.err != nil {
			return
		}
		b.Specs = b.Specs[:len(b.Specs)+1]
		b.Specs[len(b.Specs)-1].read(r)
	}
}

func (s *Spec) read(r *reader) {
	*s = Spec{}
	s.Attempt = 1
	for range r.count(majorMap, 2) {
		switch r.uint() {
		case specNumber:
			s.Number = r.uint()
		case specCall:
			s.Call = r.small(MaxSpecs)
		case specAttempt:
			s.Attempt = int32(r.small(MaxAttempts) + 1)
		case specLosses:
			s.Losses = int32(r.small(MaxAttempts))
		case specType:
			s.Input.Type = ValueType(r.small(1 << 8))
		case specInput:
			s.Input.Data = r.bytes()
		case specDigest:
			r.digest(&s.Digest)
		case specObject:
			s.Input.external().Object = r.object()
		case specRefs:
			s.Input.setRefs(r.values(MaxRefDepth))
		default:
			r.skip(maxSkipDepth)
		}
	}
	s.Input.Data = s.Input.inlineData()
}

// check returns an error if the fields of the batch are not valid together.
func (b *Batch) check() error {
	if len(b.Specs) == 0 {
		return fmt.Errorf("task: decode batch: no specs")
	}
	if b.Scope != "" && CheckOwner(b.Scope) != nil {
		return fmt.Errorf("task: decode batch: scope %q is no name of a session", Clip(b.Scope, 120))
	}
	for i := range b.Specs {
		s := &b.Specs[i]
		if s.Number == 0 || s.Call >= len(b.Calls) {
			return fmt.Errorf("task: decode batch: spec %d: number %d, call %d of %d", i, s.Number, s.Call, len(b.Calls))
		}
	}
	return nil
}
