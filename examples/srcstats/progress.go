package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a loop has come. It is not safe for concurrent use.
type progress interface {
	step() // one more item is done
	end()  // the loop has ended, with or without all items done
}

// newProgress shows progress on standard error: a bar on a terminal, plain lines elsewhere. of names the items, such as
// "files".
func newProgress(label string, total int, of string) progress {
	if total > 0 && term.IsTerminal(int(os.Stderr.Fd())) { // the bar needs a total
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
		progressbar.OptionThrottle(100*time.Millisecond), // drawing takes longer than parsing most files
	)}
}

// Errors of drawing the bar are ignored: they are no reason to stop.

func (b bar) step() { _ = b.Add(1) }

func (b bar) end() {
	_ = b.Exit()
	fmt.Fprintln(b.w)
}

// lines shows progress as text: at most one line a second, and one at the end.
type lines struct {
	w           io.Writer
	label, of   string
	done, total int
	now         func() time.Time
	next        time.Time // when the next line may be printed
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
