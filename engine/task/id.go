package task

import (
	"fmt"
	"regexp"
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

var name = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// CheckName returns an error unless s can name a function, job, node or limit: one token of a subject,
// [a-z0-9_-]{1,64}. The noun says in the error what was to be named.
func CheckName(noun, s string) error {
	if name.MatchString(s) {
		return nil
	}
	return fmt.Errorf("task: %s name %q: want 1 to 64 of a-z, 0-9, _ and -", noun, Clip(s, 80))
}

// Level is a queue within a class. Agents draw levels in turn.
type Level string

// Normal is the level of every task for now; child, high and low come with nested tasks and priorities.
const Normal Level = "normal"
