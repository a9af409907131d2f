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
	KindDependency                  // a task that its input refers to failed; Causes says which
	KindObjectLost                  // bytes that it needs are kept nowhere any more
)

var kinds = [...]string{
	KindError: "error", KindPanic: "panic", KindExited: "exited", KindInput: "input", KindOutput: "output",
	KindTooLarge: "too large", KindUnknownFunc: "unknown function", KindInfeasible: "infeasible",
	KindLost: "lost", KindCancelled: "cancelled", KindTimeout: "timeout", KindDependency: "dependency failed", KindObjectLost: "object lost",
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
	ErrObjectLost  = errors.New("object lost")
)

var causes = map[Kind]error{
	KindUnknownFunc: ErrUnknownFunc, KindInfeasible: ErrInfeasible, KindTooLarge: ErrTooLarge, KindCancelled: ErrCancelled,
	KindTimeout: ErrTimeout, KindObjectLost: ErrObjectLost,
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

	// Causes are the failures behind a KindDependency, the nearest first and the root last. Of a long chain
	// the middle is left out.
	Causes []Cause
}

// Cause is a failure that made another task fail.
type Cause struct {
	Func    string
	Number  uint64 // of the task; 0 if it never became one
	Kind    Kind
	Message string // at most 1 KiB
}

// Bounds on the causes of a failure.
const (
	MaxCauses    = 8
	MaxCauseText = 1 << 10
)

// Because returns the failure of a task whose input refers to one that failed in this way.
func Because(cause *Failure) *Failure {
	near := Cause{cause.Func, cause.Task.Number, cause.Kind, Clip(cause.Message, MaxCauseText)}
	causes := append([]Cause{near}, cause.Causes...)
	if len(causes) > MaxCauses { // the root is worth more than the middle
		causes = append(causes[:MaxCauses-1], causes[len(causes)-1])
	}
	root := causes[len(causes)-1]
	return &Failure{Kind: KindDependency, Causes: causes, Message: Clip(fmt.Sprintf(
		"its input refers to %s, which failed: %s", near.name(), root.inWords(len(causes) > 1)), MaxCauseText)}
}

func (c Cause) name() string {
	if c.Number == 0 {
		return c.Func
	}
	return fmt.Sprintf("%s (task %d)", c.Func, c.Number)
}

// inWords says what failed, and where if that is not said already.
func (c Cause) inWords(named bool) string {
	words := c.Message
	if c.Kind != KindError {
		words = c.Kind.String() + ": " + words
	}
	if named {
		words = "at the root, " + c.name() + ": " + words
	}
	return words
}

// Unwrap returns the nearest cause, nil if there is none.
func (f *Failure) Unwrap() error {
	if len(f.Causes) == 0 {
		return nil
	}
	c := f.Causes[0]
	return &Failure{Kind: c.Kind, Func: c.Func, Task: ID{f.Task.Owner, c.Number}, Message: c.Message, Causes: f.Causes[1:]}
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

// OneLine returns the text cut to at most so many bytes, with its white space folded into single spaces: what may stand in a
// header.
func OneLine(text string, most int) string {
	return strings.Join(strings.Fields(Clip(text, most)), " ")
}
