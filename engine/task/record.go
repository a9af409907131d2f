package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is what an entry reports. The numbers are part of the wire: add new ones at the end.
type State uint8

// The states. The first final entry for a task in its owner's log is the task's outcome. All other states are notes, which
// tell the owner what to do next.
const (
	OK        State = iota + 1 // final: a result
	Failed                     // final: an error, with no attempt left
	Errored                    // note: this attempt failed, and others are left
	Lost                       // note: its agent died, or its batch was redelivered
	Refused                    // note: the agent cannot run it, since it does not have the function
	Cancelled                  // final: it was cancelled
	Started                    // note: it is about to run; if no other entry follows, it was lost
	Returned                   // note: it did not run after its start, and is queued again
)

var states = [...]string{
	OK: "ok", Failed: "failed", Errored: "errored", Lost: "lost", Refused: "refused", Cancelled: "cancelled", Started: "started",
	Returned: "returned",
}

// String returns the state as a word.
func (s State) String() string {
	if int(s) < len(states) && states[s] != "" {
		return states[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Final reports whether an entry in this state can be the outcome of a task.
func (s State) Final() bool { return s == OK || s == Failed || s == Cancelled }

// Entry is what became of one dispatch of a task. Written by nodeagent (record) and session, read by session (fold).
type Entry struct {
	Number   uint64
	Digest   Digest // as in the spec
	State    State
	Dispatch               // as in the spec
	Ran      time.Duration // how long the function ran
	Value    Value         // of OK
	Failure  *Failure      // of other states; Func, Task, Attempt and Node are not sent, the reader sets them
	Unbegun  bool          // with a Failure: the function was not called in this attempt, as far as the writer knows
}

// Begun returns the last attempt that began: the entry's, or the one before it.
func (e *Entry) Begun() int {
	if e.Unbegun {
		return int(e.Attempt) - 1
	}
	return int(e.Attempt)
}

// Record is one message with entries of one owner. Its envelope (version, writer, owner, task numbers, and a place for a
// signature of the writer) is the same in all versions; the body, with one item for each entry, depends on the version.
type Record struct {
	Writer  string // the node that ran the tasks, or the owner
	Owner   string
	Entries []Entry
}

// RecordWriter encodes entries that are sent together. The zero value is ready. It is not safe for concurrent use.
type RecordWriter struct {
	numbers []byte
	body    []byte
	count   int
	refs    int // of all values
}

// Keys of an entry and a failure.
const (
	entryState   = 1
	entryAttempt = 2 // minus one; left out for the first
	entryLosses  = 3
	entryRan     = 4 // nanoseconds
	entryType    = 5
	entryValue   = 6
	entryFailure = 7
	entryDigest  = 8
	entryObject  = 9
	entryRefs    = 10

	failureKind    = 1
	failureMessage = 2
	failureStack   = 3
	failureCauses  = 4
	failureErrors  = 5
	failureFinal   = 6 // 1: another attempt would not avoid it
	failureUnbegun = 7 // 1: the entry's attempt did not begin
)

// Add encodes the entry, and keeps nothing of it.
func (w *RecordWriter) Add(e *Entry) {
	w.count++
	w.refs += e.Value.CountRefs()
	w.numbers = appendUint(w.numbers, e.Number)
	w.body = appendEntry(w.body, e)
}

// Len returns how many entries were added.
func (w *RecordWriter) Len() int { return w.count }

// Size returns about how many bytes the record has.
func (w *RecordWriter) Size() int { return len(w.numbers) + len(w.body) + recordOverhead }

// recordOverhead is an upper limit of the bytes of the envelope without the task numbers, with names.
const recordOverhead = 256

// Fits reports whether the record is readable, and has about maxBytes bytes at most, when the entry is added.
func (w *RecordWriter) Fits(e *Entry, maxBytes int) bool {
	return w.Size()+len(e.Value.Data) <= maxBytes && w.refs+e.Value.CountRefs() <= MaxRefs
}

// Reset removes all entries and keeps the memory for others.
func (w *RecordWriter) Reset() { w.numbers, w.body, w.count, w.refs = w.numbers[:0], w.body[:0], 0, 0 }

// Append appends a record of all entries to dst.
func (w *RecordWriter) Append(dst []byte, writer, owner string) []byte {
	dst = slices.Grow(dst, w.Size())
	dst = appendHead(dst, majorArray, 6)
	dst = appendUint(dst, Version)
	dst = appendText(dst, writer)
	dst = appendText(dst, owner)
	dst = append(appendHead(dst, majorArray, uint64(w.count)), w.numbers...)
	dst = appendBytes(dst, nil) // the place for a signature
	return append(appendHead(dst, majorArray, uint64(w.count)), w.body...)
}

func appendEntry(dst []byte, e *Entry) []byte {
	attempt, losses, ran, kind := attemptsBefore(e.Attempt), uint64(e.Losses), uint64(max(e.Ran, 0)), uint64(e.Value.Type)
	n := 1 + fields(attempt, losses, ran, kind)
	if e.State == OK {
		n += 1 + e.Value.externalFields()
	}
	if e.Failure != nil {
		n++
	}
	if !e.Digest.IsZero() {
		n++
	}
	dst = appendHead(dst, majorMap, n)
	dst = appendUint(appendUint(dst, entryState), uint64(e.State))
	dst = appendField(dst, entryAttempt, attempt)
	dst = appendField(dst, entryLosses, losses)
	dst = appendField(dst, entryRan, ran)
	dst = appendField(dst, entryType, kind)
	if e.State == OK {
		dst = appendBytes(appendUint(dst, entryValue), e.Value.inlineData())
	}
	if e.Failure != nil {
		dst = appendFailure(appendUint(dst, entryFailure), e.Failure, e.Unbegun)
	}
	dst = appendDigest(dst, entryDigest, &e.Digest)
	if e.State == OK {
		dst = e.Value.appendExternal(dst, entryObject, entryRefs)
	}
	return dst
}

func appendFailure(dst []byte, f *Failure, unbegun bool) []byte {
	final, notBegun := flag(f.NonRetryable), flag(unbegun)
	n := 3 + fields(uint64(len(f.Causes)), uint64(len(f.Errors)), final, notBegun)
	dst = appendHead(dst, majorMap, n)
	dst = appendUint(appendUint(dst, failureKind), uint64(f.Kind))
	dst = appendText(appendUint(dst, failureMessage), Clip(f.Message, MaxText))
	dst = appendText(appendUint(dst, failureStack), Clip(f.Stack, MaxText))
	if len(f.Causes) > 0 {
		dst = appendCauses(appendUint(dst, failureCauses), f.Causes)
	}
	if len(f.Errors) > 0 {
		dst = appendErrors(appendUint(dst, failureErrors), f.Errors)
	}
	dst = appendField(dst, failureFinal, final)
	return appendField(dst, failureUnbegun, notBegun)
}

// flag returns 1 for true.
func flag(set bool) uint64 {
	if set {
		return 1
	}
	return 0
}

func appendCauses(dst []byte, causes []Cause) []byte {
	dst = appendHead(dst, majorArray, uint64(len(causes)))
	for _, c := range causes {
		dst = appendHead(dst, majorArray, 4)
		dst = appendUint(appendText(dst, c.Func), c.Number)
		dst = appendText(appendUint(dst, uint64(c.Kind)), Clip(c.Message, MaxCauseText))
	}
	return dst
}

func appendErrors(dst []byte, infos []ErrorInfo) []byte {
	infos = infos[:min(len(infos), MaxErrors)]
	dst = appendHead(dst, majorArray, uint64(len(infos)))
	for _, i := range infos {
		dst = appendHead(dst, majorArray, 3)
		dst = appendText(appendText(dst, Clip(i.Code, maxErrorName)), Clip(i.Type, maxErrorName))
		dst = appendBytes(dst, i.Details)
	}
	return dst
}

// AppendFailure appends the failure to dst, as the bytes of a Fault: with Func, Task, Attempt and Node, which an entry does
// not have.
func AppendFailure(dst []byte, f *Failure) []byte {
	dst = appendHead(dst, majorArray, 6)
	dst = appendText(appendText(dst, f.Func), f.Task.Owner)
	dst = appendUint(appendUint(dst, f.Task.Number), uint64(max(f.Attempt, 0)))
	return appendFailure(appendText(dst, f.Node), f, false)
}

// DecodeFailure reads what AppendFailure writes. Nothing of data is kept.
func DecodeFailure(data []byte) (*Failure, error) {
	r := &reader{rest: data}
	if n := r.count(majorArray, 1); n != 6 && r.err == nil {
		r.fail(fmt.Errorf("%d items, want 6", n))
	}
	fn, id := strings.Clone(r.text()), ID{Owner: strings.Clone(r.text()), Number: r.uint()}
	attempt, node := r.small(MaxAttempts), strings.Clone(r.text())
	f := &Failure{}
	f.read(r)
	if r.err == nil && len(r.rest) > 0 {
		r.fail(fmt.Errorf("%d bytes after the end", len(r.rest)))
	}
	if r.err != nil {
		return nil, fmt.Errorf("task: decode failure: %w", r.err)
	}
	f.Func, f.Task, f.Attempt, f.Node = fn, id, attempt, node
	return f, nil
}

// DecodeRecord reads a record into rec, whose slice it reuses. Values are parts of data, which must not change afterwards.
// The error wraps ErrVersion if the record is of another version: its reader must stop, since skipping the record could
// change an outcome. With any other error, the message is no record in any version, and every reader skips it.
func DecodeRecord(data []byte, rec *Record) error {
	*rec = Record{Entries: rec.Entries[:0]}
	r := &reader{rest: data}
	if n := r.count(majorArray, 1); n != 6 && r.err == nil {
		r.fail(fmt.Errorf("envelope of %d items, want 6", n))
	}
	version := r.uint()
	rec.Writer = r.text()
	rec.Owner = r.text()
	rec.readNumbers(r, version)
	r.bytes() // signature
	if r.err == nil && version != Version {
		return fmt.Errorf("task: decode record of %s: %w: %d, want %d", rec.Owner, ErrVersion, version, Version)
	}
	rec.readBody(r)
	if err := r.end(version); err != nil {
		return fmt.Errorf("task: decode record: %w", err)
	}
	return nil
}

// ErrVersion says that a record is of a version that this program does not know.
var ErrVersion = errors.New("unknown version")

// entryLeast is the length of the shortest entry in bytes: its number, and a map with a state.
const entryLeast = 4

func (rec *Record) readNumbers(r *reader, version uint64) {
	least := entryLeast
	if version != Version {
		least = 1 // its body is not known
	}
	n := r.count(majorArray, least)
	if n > MaxSpecs {
		r.fail(fmt.Errorf("%d entries, at most %d", n, MaxSpecs))
		return
	}
	rec.Entries = slices.Grow(rec.Entries, n)[:n]
	clear(rec.Entries)
	for i := range rec.Entries {
		rec.Entries[i].Number, rec.Entries[i].Attempt = r.uint(), 1
	}
}

func (rec *Record) readBody(r *reader) {
	if n := r.count(majorArray, 3); n != len(rec.Entries) && r.err == nil {
		r.fail(fmt.Errorf("%d entries, %d numbers", n, len(rec.Entries)))
	}
	for i := range rec.Entries {
		e := &rec.Entries[i]
		e.read(r)
		if r.err == nil && (e.Number == 0 || e.State < OK || e.State > Returned) {
			r.fail(fmt.Errorf("entry %d: task %d, %s", i, e.Number, e.State))
		}
		if r.err != nil {
			return
		}
	}
}

func (e *Entry) read(r *reader) {
	for range r.count(majorMap, 2) {
		switch r.uint() {
		case entryState:
			e.State = State(r.small(1 << 8))
		case entryAttempt:
			e.Attempt = int32(r.small(MaxAttempts) + 1)
		case entryLosses:
			e.Losses = int32(r.small(MaxAttempts))
		case entryRan:
			e.Ran = time.Duration(r.uint() & (1<<63 - 1))
		case entryType:
			e.Value.Type = ValueType(r.small(1 << 8))
		case entryValue:
			e.Value.Data = r.bytes()
		case entryFailure:
			if e.Failure == nil {
				e.Failure = &Failure{}
			}
			e.Unbegun = e.Failure.read(r)
		case entryDigest:
			r.digest(&e.Digest)
		case entryObject:
			e.Value.external().Object = r.object()
		case entryRefs:
			e.Value.setRefs(r.values(MaxRefDepth))
		default:
			r.skip(maxSkipDepth)
		}
	}
	e.Value.Data = e.Value.inlineData()
}

// read reads what appendFailure writes.
func (f *Failure) read(r *reader) (unbegun bool) {
	*f = Failure{}
	for range r.count(majorMap, 2) {
		switch r.uint() {
		case failureKind:
			f.Kind = Kind(r.small(1 << 8))
		case failureMessage:
			f.Message = strings.Clone(r.text())
		case failureStack:
			f.Stack = strings.Clone(r.text())
		case failureCauses:
			f.Causes = readCauses(r)
		case failureErrors:
			f.Errors = readErrors(r)
		case failureFinal:
			f.NonRetryable = r.uint() != 0
		case failureUnbegun:
			unbegun = r.uint() != 0
		default:
			r.skip(maxSkipDepth)
		}
	}
	return unbegun
}

func readErrors(r *reader) (infos []ErrorInfo) {
	for range r.count(majorArray, 4) {
		if n := r.count(majorArray, 1); n != 3 && r.err == nil {
			r.fail(fmt.Errorf("an error of %d items, want 3", n))
		}
		i := ErrorInfo{Code: strings.Clone(r.text()), Type: strings.Clone(r.text())}
		if details := r.bytes(); len(details) > 0 {
			i.Details = slices.Clone(json.RawMessage(details))
		}
		if r.err != nil {
			return nil
		}
		if len(infos) < MaxErrors {
			infos = append(infos, i)
		}
	}
	return infos
}

func readCauses(r *reader) (causes []Cause) {
	for range r.count(majorArray, 5) {
		if n := r.count(majorArray, 1); n != 4 && r.err == nil {
			r.fail(fmt.Errorf("a cause of %d items, want 4", n))
		}
		c := Cause{Func: strings.Clone(r.text()), Number: r.uint(), Kind: Kind(r.small(1 << 8)), Message: strings.Clone(r.text())}
		if r.err != nil {
			return nil
		}
		if len(causes) < MaxCauses {
			causes = append(causes, c)
		}
	}
	return causes
}
