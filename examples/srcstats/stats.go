package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// Stats are the figures of one file, one directory, or a whole tree. Add is associative and commutative, and the zero value
// is neutral, so files can be counted in any order and added up in any grouping. Stats stay small: those of a file have at
// most ten functions and one entry for each import.
type Stats struct {
	Files    int            `json:"files"`
	Dirs     int            `json:"dirs"` // directories with Go files; 0 for a file
	Bytes    int64          `json:"bytes"`
	Lines    int            `json:"lines"` // Invariant: Code + Comment + Blank
	Code     int            `json:"code"`
	Comment  int            `json:"comment"`
	Blank    int            `json:"blank"`
	Funcs    int            `json:"funcs"`    // function and method declarations
	Tests    int            `json:"tests"`    // those of Funcs that go test runs
	Longest  []Func         `json:"longest"`  // the ten longest; Invariant: sorted by compareFuncs
	Imports  map[string]int `json:"imports"`  // number of files that import a path, by path
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

// sumDir is the function of SumDir: it adds up the Stats of files, or of groups of files, of one directory.
func sumDir(_ context.Context, parts []Stats) (Stats, error) {
	var sum Stats
	for _, part := range parts {
		sum.Add(part)
	}
	sum.Dirs = 1 // all parts are of the same directory
	return sum, nil
}

// Add adds the Stats of other files to s. s shares no memory with other afterwards, and other does not change.
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

// compareFuncs orders functions by length, the longest first, then by file, line and name. The name matters for two
// functions on one line: without it, the order would depend on which was added first.
func compareFuncs(a, b Func) int {
	return cmp.Or(
		cmp.Compare(b.Lines, a.Lines),
		cmp.Compare(a.File, b.File),
		cmp.Compare(a.Line, b.Line),
		cmp.Compare(a.Name, b.Name),
	)
}
