package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestLines(t *testing.T) {
	var text bytes.Buffer
	now := time.Unix(0, 0)
	l := &lines{w: &text, label: "srcstats", total: 3000, of: "files", now: func() time.Time { return now }, next: now.Add(time.Second)}
	for range 2999 {
		now = now.Add(time.Millisecond)
		l.step()
	}
	now = now.Add(time.Minute)
	l.step() // end prints the last line
	l.end()
	want := `srcstats: 1,000 of 3,000 files
srcstats: 2,000 of 3,000 files
srcstats: 3,000 of 3,000 files
`
	if text.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &text, want)
	}
}

func TestBar(t *testing.T) {
	var text bytes.Buffer
	b := newBar(&text, "srcstats", 3)
	for range 3 {
		b.step()
	}
	b.end()
	if got := text.String(); !strings.Contains(got, "3/3") || !strings.HasSuffix(got, "\n") {
		t.Errorf("got %q, want 3/3 in it, and a newline at the end", got)
	}
}
