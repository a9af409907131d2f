package task

import (
	"fmt"
	"strconv"
)

// ID names a task: the session that owns it, and its number there. Numbers begin at 1 and have no gap,
// so that an owner can keep its open tasks in pages instead of a map.
type ID struct {
	Owner  string
	Number uint64
}

// String returns the ID as logs and errors show it: owner/number.
func (id ID) String() string { return id.Owner + "/" + strconv.FormatUint(id.Number, 10) }

// IsZero reports whether the ID names no task.
func (id ID) IsZero() bool { return id == ID{} }

// named reports whether s is one token of a subject of ours, [a-z0-9_-], and not too long. (A regular expression took a
// microsecond for each message.)
func named(s string, most int) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || 'z' < c) && (c < '0' || '9' < c) && c != '_' && c != '-' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= most
}

// CheckName returns an error unless s can name a function, job, node or limit: one token of a subject,
// [a-z0-9_-]{1,64}. The noun says in the error what was to be named.
func CheckName(noun, s string) error {
	if named(s, 64) {
		return nil
	}
	return fmt.Errorf("task: %s name %q: want 1 to 64 of a-z, 0-9, _ and -", noun, Clip(s, 80))
}

// CheckOwner returns an error unless s can name a session: a name, or a job's with its incarnation behind it.
func CheckOwner(s string) error {
	if named(s, 96) {
		return nil
	}
	return fmt.Errorf("task: owner %q: want 1 to 96 of a-z, 0-9, _ and -", Clip(s, 120))
}

// Digest is what a named job calls a task by in all of its runs: made from the function, its version, the
// input, and which of equal calls it is. Sessions without a job leave it zero, and number their tasks.
type Digest [16]byte

// IsZero reports whether the digest names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

func appendDigest(dst []byte, key uint64, d *Digest) []byte {
	if d.IsZero() {
		return dst
	}
	return appendBytes(appendUint(dst, key), d[:])
}

// digest reads what appendDigest wrote.
func (r *reader) digest(d *Digest) {
	if b := r.bytes(); len(b) == len(d) {
		copy(d[:], b)
	} else if r.err == nil {
		r.fail(fmt.Errorf("a digest of %d bytes, want %d", len(b), len(d)))
	}
}

// Level is a queue within a class. Agents draw the levels in turn, the first ones more often; none is starved.
type Level string

// The levels. Child is for the children of tasks, and no program chooses it.
const (
	Child  Level = "child"
	High   Level = "high"
	Normal Level = "normal"
	Low    Level = "low"
)

// Levels are all of them, the one that is drawn most first.
var Levels = [...]Level{Child, High, Normal, Low}

// Rank returns the level's index in Levels, that of Normal for an unknown one.
func (l Level) Rank() int {
	for i, known := range Levels {
		if l == known {
			return i
		}
	}
	return Normal.Rank()
}
