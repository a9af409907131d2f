package task

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind is the reason of a failure. The numbers are part of the wire: add new ones at the end.
type Kind uint8

// The kinds of failures.
const (
	KindError       Kind = iota + 1 // the function returned an error
	KindPanic                       // the function panicked; Stack says where
	KindExited                      // the function ended its goroutine by runtime.Goexit
	KindInput                       // the input could not be decoded into the function's input type
	KindOutput                      // the result could not be encoded
	KindTooLarge                    // the input or the result is larger than a message may be
	KindUnknownFunc                 // no agent has the function
	KindInfeasible                  // no node has the resources
	KindLost                        // too many agents died while they had the task
	KindCancelled                   // it was cancelled
	KindTimeout                     // an attempt took longer than its timeout, or the task than its deadline
	KindDependency                  // a task that its input refers to failed; Causes says which
	KindObjectLost                  // an object that it needs no longer exists, or is damaged
)

var kinds = [...]string{
	KindError: "error", KindPanic: "panic", KindExited: "exited", KindInput: "input", KindOutput: "output",
	KindTooLarge: "too large", KindUnknownFunc: "unknown function", KindInfeasible: "infeasible",
	KindLost: "lost", KindCancelled: "cancelled", KindTimeout: "timeout", KindDependency: "dependency failed", KindObjectLost: "object lost",
}

// String returns the kind as words.
func (k Kind) String() string {
	if int(k) < len(kinds) && kinds[k] != "" {
		return kinds[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Errors that a program can test for: errors.Is(err, ErrTooLarge) holds for a Failure of that kind.
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

// Failure is the error of a task. It has the text of the error that the function returned, and what is registered of it:
// errors.Is and errors.As find the errors that Errors names, since they may come from another process.
type Failure struct {
	Kind    Kind
	Func    string
	Task    ID
	Attempt int    // the last attempt that began, 1 is the first; 0 if none has begun, as far as its owner knows
	Node    string // the node that ran it, or found that it cannot be run; "" if its owner ended it
	Message string
	Stack   string // of a panic; at most 16 KiB

	// NonRetryable says that another attempt would not avoid the failure. A task that returns it is not tried again either.
	NonRetryable bool

	// Errors are the errors in the tree that the function returned: those that are registered, and the types of others.
	Errors []ErrorInfo

	// Causes are the failures that led to a KindDependency: first that of the task that the input refers to, last the root.
	// The middle of a long chain is left out.
	Causes []Cause
}

// Cause is the failure of a task that another task depends on.
type Cause struct {
	Func    string
	Number  uint64 // of the task; 0 if its submit failed
	Kind    Kind
	Message string // at most 1 KiB
}

// Limits of the causes of a failure: how many, and bytes of each message.
const (
	MaxCauses    = 8
	MaxCauseText = 1 << 10
)

// Because returns the failure of a task whose input refers to the result of a task with this failure.
func Because(cause *Failure) *Failure {
	nearest := Cause{cause.Func, cause.Task.Number, cause.Kind, Clip(cause.Message, MaxCauseText)}
	causes := append([]Cause{nearest}, cause.Causes...)
	if len(causes) > MaxCauses { // leave out the middle
		causes = append(causes[:MaxCauses-1], causes[len(causes)-1])
	}
	root := causes[len(causes)-1]
	return &Failure{Kind: KindDependency, Causes: causes, Errors: cause.Errors, NonRetryable: cause.NonRetryable, Message: Clip(fmt.Sprintf(
		"its input refers to %s, which failed: %s", nearest.name(), root.inWords(len(causes) > 1)), MaxCauseText)}
}

// name returns the function and task, or what else there is to be said of a value that no task has made.
func (c Cause) name() string {
	switch {
	case c.Func == "":
		return "a value that could not be put"
	case c.Number == 0:
		return c.Func
	}
	return fmt.Sprintf("%s (task %d)", c.Func, c.Number)
}

// inWords returns the cause as text; withName puts the function and task in front.
func (c Cause) inWords(withName bool) string {
	words := c.Message
	if c.Kind != KindError {
		words = c.Kind.String() + ": " + words
	}
	if withName {
		words = "at the root, " + c.name() + ": " + words
	}
	return words
}

// Unwrap returns the first cause, nil if there is none.
func (f *Failure) Unwrap() error {
	if len(f.Causes) == 0 {
		return nil
	}
	c := f.Causes[0]
	cause := &Failure{Kind: c.Kind, Func: c.Func, Task: ID{f.Task.Owner, c.Number}, Message: c.Message, Causes: f.Causes[1:]}
	if f.Kind == KindDependency { // it has the errors of its cause, and no others
		cause.Errors, cause.NonRetryable = f.Errors, f.NonRetryable
	}
	return cause
}

// MaxText limits the message and the stack of a failure, each in bytes.
const MaxText = 16 << 10

// Error returns the function, the task, the kind and the message, without the stack. It is one line if the message is.
func (f *Failure) Error() string {
	parts := make([]string, 0, 3)
	if who := f.who(); who != "" {
		parts = append(parts, who)
	}
	if f.Kind != KindError || f.Message == "" {
		parts = append(parts, f.Kind.String())
	}
	if f.Message != "" {
		parts = append(parts, f.Message)
	}
	return strings.Join(parts, ": ")
}

// who returns the function and the task, "" if neither is known.
func (f *Failure) who() string {
	if f.Task.Number == 0 {
		return f.Func
	}
	var b strings.Builder
	if f.Func != "" {
		b.WriteString(f.Func + " (")
	}
	b.WriteString("task ")
	if f.Task.Owner != "" {
		b.WriteString(f.Task.Owner + "/")
	}
	fmt.Fprint(&b, f.Task.Number)
	if f.Attempt > 0 {
		fmt.Fprintf(&b, ", attempt %d", f.Attempt)
	}
	if f.Node != "" {
		b.WriteString(" on " + f.Node)
	}
	if f.Func != "" {
		b.WriteString(")")
	}
	return b.String()
}

// Clip returns the text as valid UTF-8 of at most n bytes. Invalid bytes become U+FFFD. A text that is too long is cut
// between runes, and ends with a mark if n is large enough for it.
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
