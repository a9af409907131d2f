package task

import (
	"fmt"
	"strconv"
)

// ID identifies a task: the session that owns it, and its number there. An owner numbers its tasks in order from 1, so that
// it can keep open ones in arrays.
type ID struct {
	Owner  string
	Number uint64
}

// String returns the ID as logs and errors show it: owner/number.
func (id ID) String() string { return id.Owner + "/" + strconv.FormatUint(id.Number, 10) }

// IsZero reports whether the ID names no task.
func (id ID) IsZero() bool { return id == ID{} }

// isName reports whether s is 1 to most bytes of [a-z0-9_-], which makes it one token of a subject. (A regular expression
// took a microsecond for each message.)
func isName(s string, most int) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || 'z' < c) && (c < '0' || '9' < c) && c != '_' && c != '-' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= most
}

// CheckName returns an error unless s can be the name of a function, job, node or limit: one token of a subject,
// [a-z0-9_-]{1,64}. noun says in the error what the name is of.
func CheckName(noun, s string) error {
	if isName(s, 64) {
		return nil
	}
	return fmt.Errorf("task: %s name %q: want 1 to 64 of a-z, 0-9, _ and -", noun, Clip(s, 80))
}

// CheckOwner returns an error unless s can be the name of a session. It may be longer than other names, since that of a
// job's session ends with the number of the incarnation.
func CheckOwner(s string) error {
	if isName(s, 96) {
		return nil
	}
	return fmt.Errorf("task: owner %q: want 1 to 96 of a-z, 0-9, _ and -", Clip(s, 120))
}

// Digest identifies a task in all runs of a named job. It is made from the function, its version, the input, and a count of
// equal calls. Tasks of other sessions have a zero digest, and are identified by their numbers.
type Digest [16]byte

// IsZero reports whether the task has no digest.
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

// Level is a queue within a class. Agents pull from all levels in turn, more often from the first ones; none is starved.
type Level string

// The levels. Child is for tasks that tasks submit; no program chooses it.
const (
	Child  Level = "child"
	High   Level = "high"
	Normal Level = "normal"
	Low    Level = "low"
)

// Levels are all levels, in descending order of how often agents pull from them.
var Levels = [...]Level{Child, High, Normal, Low}

// Rank returns the index of the level in Levels, and that of Normal for an unknown level.
func (l Level) Rank() int {
	for i, known := range Levels {
		if l == known {
			return i
		}
	}
	return Normal.Rank()
}
