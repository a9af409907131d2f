package task_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tidemill/tidemill/engine/task"
)

func TestFailureText(t *testing.T) {
	id := task.ID{Owner: "kestrel-4f2a", Number: 7}
	for want, f := range map[string]*task.Failure{
		"no space left": {Kind: task.KindError, Message: "no space left"},
		"square (task kestrel-4f2a/7, attempt 3 on node-1): no space left": {
			Kind: task.KindError, Func: "square", Task: id, Attempt: 3, Node: "node-1", Message: "no space left",
		},
		"square (task kestrel-4f2a/7, attempt 1 on node-1): panic: nil map": {
			Kind: task.KindPanic, Func: "square", Task: id, Attempt: 1, Node: "node-1", Message: "nil map", Stack: "goroutine 1",
		},
		"square (task kestrel-4f2a/7, attempt 1): lost: its agent was lost 10 times": {
			Kind: task.KindLost, Func: "square", Task: id, Attempt: 1, Message: "its agent was lost 10 times",
		},
		"square (task kestrel-4f2a/7): infeasible: gpu=3": {
			Kind: task.KindInfeasible, Func: "square", Task: id, Message: "gpu=3",
		},
		"square: infeasible: gpu=3":   {Kind: task.KindInfeasible, Func: "square", Message: "gpu=3"},
		"task kestrel-4f2a/7: x":      {Kind: task.KindError, Task: id, Message: "x"},
		"square (task 7): timeout: x": {Kind: task.KindTimeout, Func: "square", Task: task.ID{Number: 7}, Message: "x"},
		"square: error":               {Kind: task.KindError, Func: "square"},
		"square: cancelled":           {Kind: task.KindCancelled, Func: "square"},
		"kind 77: what came later":    {Kind: 77, Message: "what came later"},
	} {
		if got := f.Error(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	words := []string{
		"kind 0", "error", "panic", "exited", "input", "output", "too large", "unknown function", "infeasible",
		"lost", "cancelled", "timeout", "dependency failed", "object lost", "kind 14",
	}
	for kind, word := range words { // the numbers are part of the wire
		if got := task.Kind(kind).String(); got != word {
			t.Errorf("kind %d: got %q, want %q", kind, got, word)
		}
	}
}

// A wrapped failure is the error for its kind, and no other.
func TestFailureIs(t *testing.T) {
	sentinels := map[task.Kind]error{
		task.KindUnknownFunc: task.ErrUnknownFunc, task.KindInfeasible: task.ErrInfeasible,
		task.KindTooLarge: task.ErrTooLarge, task.KindCancelled: task.ErrCancelled, task.KindTimeout: task.ErrTimeout, task.KindObjectLost: task.ErrObjectLost,
	}
	for kind := range task.KindObjectLost + 2 {
		err := fmt.Errorf("engine: get: %w", &task.Failure{Kind: kind, Message: "unknown function"})
		for of, sentinel := range sentinels {
			if got := errors.Is(err, sentinel); got != (kind == of) {
				t.Errorf("errors.Is(%v, %v): got %v, want %v", err, sentinel, got, kind == of)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, task.ErrVersion) {
			t.Errorf("errors.Is(%v, %v or %v): got true, want false", err, io.EOF, task.ErrVersion)
		}
		var f *task.Failure
		if !errors.As(err, &f) || f.Kind != kind {
			t.Errorf("errors.As(%v): got %v, want a failure of kind %v", err, f, kind)
		}
	}
}

func TestClip(t *testing.T) {
	const mark = " … (cut)"
	for _, test := range []struct {
		text string
		n    int
		want string
	}{
		{"", 0, ""},
		{"", 20, ""},
		{"exactly twenty bytes", 20, "exactly twenty bytes"},
		{"exactly twenty1 bytes", 20, "exactly tw" + mark},
		{strings.Repeat("ö", 10), 20, strings.Repeat("ö", 10)},
		{strings.Repeat("ö", 11), 20, strings.Repeat("ö", 5) + mark},
		{strings.Repeat("ö", 11), 21, strings.Repeat("ö", 5) + mark},
		{"12345678\U0001F600" + mark + mark, 20, "12345678" + mark},
		{strings.Repeat("x", 100), len(mark), mark},
		{strings.Repeat("ö", 100), 9, "öööö"}, // too short for the mark
		{strings.Repeat("x", 100), 1, "x"},
		{"öö", 1, ""},
		{"öö", 0, ""},
		{"caf\xe9", 20, "caf\uFFFD"},
		{"\xff\xfe\xff", 20, "\uFFFD"}, // several invalid bytes become one rune
		{"\x80\x80\x80\x80\x80\x80", 3, "\uFFFD"},
	} {
		if got := task.Clip(test.text, test.n); got != test.want {
			t.Errorf("Clip(%q, %d): got %q, want %q", test.text, test.n, got, test.want)
		}
	}
}

// The texts of a failure are limited on the wire, however long the error of a function is.
func TestFailureIsClipped(t *testing.T) {
	long := strings.Repeat("€", task.MaxText)
	data := encodeRecord(new(task.RecordWriter), nil, &task.Record{Entries: []task.Entry{{
		Number: 1, State: task.Failed, Failure: &task.Failure{Kind: task.KindPanic, Message: long, Stack: long},
	}}})
	var rec task.Record
	decodeRecord(t, data, &rec)
	for _, text := range []string{rec.Entries[0].Failure.Message, rec.Entries[0].Failure.Stack} {
		if len(text) > task.MaxText || len(text) < task.MaxText-utf8.UTFMax || !utf8.ValidString(text) {
			t.Errorf("got %d bytes, valid UTF-8: %v, want at most %d, valid", len(text), utf8.ValidString(text), task.MaxText)
		}
	}
}

// A chain of failures names the nearest and the root, matches the errors of both, and is limited.
func TestBecause(t *testing.T) {
	root := &task.Failure{Kind: task.KindCancelled, Func: "load", Task: task.ID{Owner: "me", Number: 1}, Message: "at its caller's request"}
	f := root
	for n := range uint64(20) {
		f = task.Because(f)
		f.Func, f.Task = "add", task.ID{Owner: "me", Number: n + 2}
	}
	if len(f.Causes) != task.MaxCauses || f.Causes[0].Number != 20 || f.Causes[task.MaxCauses-1].Number != 1 {
		t.Errorf("causes: got %+v, want %d, from task 20 to task 1", f.Causes, task.MaxCauses)
	}
	want := "add (task me/21): dependency failed: its input refers to add (task 20), which failed: " +
		"at the root, load (task 1): cancelled: at its caller's request"
	if f.Error() != want {
		t.Errorf("got  %s\nwant %s", f.Error(), want)
	}
	if !errors.Is(f, task.ErrCancelled) || errors.Is(f, task.ErrTimeout) {
		t.Errorf("is cancelled, is timeout: got %v, %v, want true, false", errors.Is(f, task.ErrCancelled), errors.Is(f, task.ErrTimeout))
	}
	want = "its input refers to load (task 1), which failed: cancelled: at its caller's request"
	if got := task.Because(root).Message; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
