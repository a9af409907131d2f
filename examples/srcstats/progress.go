package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a loop has come, over files in most cases. One goroutine may use it.
type progress interface {
	step() // one more is done
	end()  // no more follow, whether all are done or not
}

// newProgress shows progress on standard error: a bar on a terminal, plain lines elsewhere. of says what is counted.
func newProgress(label string, total int, of string) progress {
	if total > 0 && term.IsTerminal(int(os.Stderr.Fd())) { // a bar cannot be full of nothing
		return newBar(os.Stderr, label, total)
	}
	return &lines{w: os.Stderr, label: label, total: total, of: of, now: time.Now, next: time.Now().Add(time.Second)}
}

// bar is the progress on a terminal.
type bar struct {
	*progressbar.ProgressBar
	w io.Writer
}

func newBar(w io.Writer, label string, total int) bar {
	return bar{w: w, ProgressBar: progressbar.NewOptions(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(label),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond), // drawing costs more than most files do
	)}
}

// A bar that cannot be drawn is no reason to stop: its errors are left alone.

func (b bar) step() { _ = b.Add(1) }

func (b bar) end() {
	_ = b.Exit()
	fmt.Fprintln(b.w)
}

// lines is the progress elsewhere: at most a line a second, and one at the end.
type lines struct {
	w           io.Writer
	label, of   string
	done, total int
	now         func() time.Time
	next        time.Time // no line before it
}

func (l *lines) step() {
	l.done++
	if now := l.now(); l.done < l.total && !now.Before(l.next) {
		l.next = now.Add(time.Second)
		l.print()
	}
}

func (l *lines) end() { l.print() }

func (l *lines) print() {
	fmt.Fprintf(l.w, "%s: %s of %s %s\n", l.label, count(l.done), count(l.total), l.of)
}
