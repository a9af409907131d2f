package task

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind says why a task failed. The list is closed, and its order is part of the wire: add at the end.
type Kind uint8

// The kinds of failures.
const (
	KindError       Kind = iota + 1 // the function returned an error
	KindPanic                       // the function panicked; Stack says where
	KindExited                      // the function ended its goroutine (runtime.Goexit)
	KindInput                       // the input could not be decoded into the function's input type
	KindOutput                      // the result could not be encoded
	KindTooLarge                    // the input or the result is larger than a message may be
	KindUnknownFunc                 // no agent has the function
	KindInfeasible                  // no node has the resources
	KindLost                        // its agents were lost too often
	KindCancelled                   // it was cancelled
	KindTimeout                     // an attempt took longer than its timeout, or the task than its deadline
)

var kinds = [...]string{
	KindError: "error", KindPanic: "panic", KindExited: "exited", KindInput: "input", KindOutput: "output",
	KindTooLarge: "too large", KindUnknownFunc: "unknown function", KindInfeasible: "infeasible",
	KindLost: "lost", KindCancelled: "cancelled", KindTimeout: "timeout",
}

// String returns the kind in words.
func (k Kind) String() string {
	if int(k) < len(kinds) && kinds[k] != "" {
		return kinds[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// The causes that a program can act upon: errors.Is(err, ErrTooLarge) holds for a Failure of that kind.
var (
	ErrUnknownFunc = errors.New("unknown function")
	ErrInfeasible  = errors.New("infeasible")
	ErrTooLarge    = errors.New("too large")
	ErrCancelled   = errors.New("cancelled")
	ErrTimeout     = errors.New("timeout")
)

var causes = map[Kind]error{
	KindUnknownFunc: ErrUnknownFunc, KindInfeasible: ErrInfeasible, KindTooLarge: ErrTooLarge, KindCancelled: ErrCancelled,
	KindTimeout: ErrTimeout,
}

// Failure is the error of a task, as it crossed the wire: the text of what the function returned, not
// the error value itself, so errors.Is finds no error of the function's own in it.
type Failure struct {
	Kind    Kind
	Func    string
	Task    ID
	Attempt int    // the attempt that failed, 1 is the first; 0 if none began
	Node    string // where it ran; empty if it did not
	Message string
	Stack   string // of a panic; at most 16 KiB
}

// MaxText bounds a failure's message and its stack, each in bytes.
const MaxText = 16 << 10

// Error returns what failed, where, and why, in one line (the message may have more). The stack is left
// to who wants it.
func (f *Failure) Error() string {
	var b strings.Builder
	b.WriteString(f.Func)
	if f.Task.Number != 0 {
		fmt.Fprintf(&b, " (task %s", f.Task)
		if f.Attempt > 0 {
			fmt.Fprintf(&b, ", attempt %d", f.Attempt)
		}
		if f.Node != "" {
			fmt.Fprintf(&b, " on %s", f.Node)
		}
		b.WriteString(")")
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if f.Kind != KindError {
		b.WriteString(f.Kind.String())
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// Is reports whether target is the cause that stands for the failure's kind.
func (f *Failure) Is(target error) bool {
	cause, ok := causes[f.Kind]
	return ok && cause == target
}

// Clip returns the text as UTF-8 of n bytes or less. What is no UTF-8 in it becomes U+FFFD; a text that is
// too long is cut at the boundary of a rune, and says so where n has the room.
func Clip(text string, n int) string {
	mark := " … (cut)"
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	if n < len(mark) {
		mark = ""
	}
	end := n - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
