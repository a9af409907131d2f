package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

func TestDifferences(t *testing.T) {
	base := Stats{
		Files: 2, Lines: 1000, Longest: []Func{{"f", "a.go", 1, 9}},
		Imports: map[string]int{"fmt": 2}, Unparsed: []Unparsed{{"b.go", "b.go:1:1: no"}},
	}
	if diff := differences(base, base); diff != nil {
		t.Errorf("differences of equal Stats: got %q, want none", diff)
	}
	other := Stats{
		Files: 2, Lines: 1001, Longest: []Func{{"g", "a.go", 1, 9}, {"f", "a.go", 1, 8}},
		Imports: map[string]int{"os": 1}, Unparsed: []Unparsed{{"b.go", "b.go:1:2: no"}},
	}
	want := []string{
		`imports of "fmt": 2 by tasks, none in a plain loop`,
		`imports of "os": none by tasks, 1 in a plain loop`,
		`lines: 1,000 by tasks, 1,001 in a plain loop`,
		`longest  1: f (a.go:1, 9 lines) by tasks, g (a.go:1, 9 lines) in a plain loop`,
		`longest  2: none by tasks, f (a.go:1, 8 lines) in a plain loop`,
		`unparsed "b.go": b.go:1:1: no by tasks, b.go:1:2: no in a plain loop`,
	}
	if diff := gocmp.Diff(want, differences(base, other)); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

func TestEveryFigureIsCompared(t *testing.T) {
	for name, change := range map[string]func(*Stats){
		"files": func(s *Stats) { s.Files++ }, "dirs": func(s *Stats) { s.Dirs++ },
		"bytes": func(s *Stats) { s.Bytes++ }, "lines": func(s *Stats) { s.Lines++ },
		"code": func(s *Stats) { s.Code++ }, "comment": func(s *Stats) { s.Comment++ },
		"blank": func(s *Stats) { s.Blank++ }, "funcs": func(s *Stats) { s.Funcs++ },
		"tests": func(s *Stats) { s.Tests++ },
	} {
		var changed Stats
		change(&changed)
		if diff := differences(changed, Stats{}); len(diff) != 1 || !strings.HasPrefix(diff[0], name+": 1 by tasks") {
			t.Errorf("after a change of %s: got differences %q, want one, of this figure", name, diff)
		}
	}
}

func TestCheckReport(t *testing.T) {
	stats, err := plainLoop(t.Context(), "testdata/tree")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	report := newReport("testdata/tree", stats, work{tasks: 9}, 1)
	if err := checkReport(t.Context(), &text, report); err != nil {
		t.Errorf("check of a correct report: got error %v, want none; output:\n%s", err, &text)
	}

	report.Tests++
	text.Reset()
	err = checkReport(t.Context(), &text, report)
	if want := "tests: 3 by tasks, 2 in a plain loop"; err == nil || !strings.Contains(text.String(), want) {
		t.Errorf("check of a wrong report: got error %v, want one, and want %q in the output:\n%s", err, want, &text)
	}
}

func TestPlainLoopCountsFilesThatDoNotParse(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/good.go", "package a\n")
	write(t, root, "b/bad.go", "package )\n")
	got, err := plainLoop(t.Context(), root)
	want := Stats{
		Files: 2, Dirs: 2, Bytes: 20, Lines: 1, Code: 1,
		Unparsed: []Unparsed{{"b/bad.go", "b/bad.go:1:9: expected 'IDENT', found ')'"}},
	}
	if diff := gocmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got error %v, want none; Stats (-want +got):\n%s", err, diff)
	}
}

func TestPlainLoopEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := plainLoop(ctx, "testdata/tree"); !errors.Is(err, why) {
		t.Errorf("with an ended context: got error %v, want %v", err, why)
	}
}
