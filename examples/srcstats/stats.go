package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// Stats is what is known of one file, of one directory, or of a whole tree. Adding is associative
// and commutative and the zero value is neutral, so files can be counted in any order and added up
// in any grouping. It stays small: a file's Stats holds at most ten functions and one entry for
// each import.
type Stats struct {
	Files    int            `json:"files"`
	Dirs     int            `json:"dirs"` // directories that hold Go files; 0 for a file
	Bytes    int64          `json:"bytes"`
	Lines    int            `json:"lines"` // Invariant: Code + Comment + Blank
	Code     int            `json:"code"`
	Comment  int            `json:"comment"`
	Blank    int            `json:"blank"`
	Funcs    int            `json:"funcs"`    // function and method declarations
	Tests    int            `json:"tests"`    // those of Funcs that go test runs
	Longest  []Func         `json:"longest"`  // the ten longest; Invariant: sorted by compareFuncs
	Imports  map[string]int `json:"imports"`  // path: number of files that import it
	Unparsed []Unparsed     `json:"unparsed"` // Invariant: sorted by file
}

// Func is a function declaration.
type Func struct {
	Name  string `json:"name"` // Type.Method for a method
	File  string `json:"file"`
	Line  int    `json:"line"`  // of "func"
	Lines int    `json:"lines"` // from "func" to the closing brace
}

// Unparsed is a file that could not be read or does not parse.
type Unparsed struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// sumDir is the work of the second kind of task: it adds up what is known of a directory's files,
// or of parts of the same directory.
func sumDir(_ context.Context, parts []Stats) (Stats, error) {
	var sum Stats
	for _, part := range parts {
		sum.Add(part)
	}
	sum.Dirs = 1 // however many parts it came in
	return sum, nil
}

// Add adds what is known of other files to s. It keeps nothing of other and leaves it as it is.
func (s *Stats) Add(other Stats) {
	s.Files += other.Files
	s.Dirs += other.Dirs
	s.Bytes += other.Bytes
	s.Lines += other.Lines
	s.Code += other.Code
	s.Comment += other.Comment
	s.Blank += other.Blank
	s.Funcs += other.Funcs
	s.Tests += other.Tests
	s.Longest = longest(slices.Concat(s.Longest, other.Longest))
	if s.Imports == nil {
		s.Imports = maps.Clone(other.Imports)
	} else {
		for path, files := range other.Imports {
			s.Imports[path] += files
		}
	}
	if len(other.Unparsed) > 0 {
		s.Unparsed = slices.Concat(s.Unparsed, other.Unparsed)
		slices.SortFunc(s.Unparsed, func(a, b Unparsed) int { return cmp.Compare(a.File, b.File) })
	}
}

// longest sorts funcs and returns the first ten.
func longest(funcs []Func) []Func {
	slices.SortFunc(funcs, compareFuncs)
	return funcs[:min(len(funcs), 10)]
}

// compareFuncs orders functions by length, the longest first, then by file, then by line. The name
// comes last, for two functions on one line: without it the order in which files are done would
// show.
func compareFuncs(a, b Func) int {
	return cmp.Or(
		cmp.Compare(b.Lines, a.Lines),
		cmp.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Name, b.Name),
	)
}
