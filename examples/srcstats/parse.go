package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parseFile is the function of ParseFile: it reads, parses and counts a file. Its result must depend on nothing but the
// file, since a task may run on any node, and more than once.
//
// A file that cannot be read or parsed gives a result, not an error, since another attempt would not help. If the whole
// tree is missing, that is an error of the node, so that there is another attempt, and the run fails if that fails too.
func parseFile(_ context.Context, f File) (Stats, error) {
	src, err := os.ReadFile(filepath.Join(f.Root, filepath.FromSlash(f.Path)))
	if err == nil {
		return statsOf(f, src), nil
	}
	if _, missing := os.Stat(f.Root); missing != nil {
		return Stats{}, fmt.Errorf("the tree is not on this machine: %w", missing)
	}
	if wrapped := (*fs.PathError)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // the error without the absolute path
	}
	return unparsed(f, f.Path+": "+err.Error()), nil
}

// statsOf counts what is in a file with the given content, which it may change.
func statsOf(f File, src []byte) Stats {
	// A byte order mark does not belong to the text. It is replaced by blanks, so that offsets do not change.
	if bom := []byte("\uFEFF"); bytes.HasPrefix(src, bom) {
		copy(src, "   ")
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, f.Path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return unparsed(f, firstError(f.Path, src, err))
	}
	s := Stats{Files: 1, Bytes: f.Size}
	file := fset.File(tree.FileStart)
	s.Code, s.Comment, s.Blank = countLines(src, commentSpans(src, file, tree.Comments))
	s.Lines = s.Code + s.Comment + s.Blank
	for _, decl := range tree.Decls {
		if decl, ok := decl.(*ast.FuncDecl); ok {
			s.addFunc(f.Path, file, decl)
		}
	}
	for _, spec := range tree.Imports {
		s.addImport(spec)
	}
	return s
}

// unparsed returns the Stats of a file that could not be read or parsed.
func unparsed(f File, message string) Stats {
	return Stats{Files: 1, Bytes: f.Size, Unparsed: []Unparsed{{f.Path, oneLine(message)}}}
}

// firstError returns the parser's first message as path:line:column: text. The position is computed from the offset, since
// //line comments change the line and the file name that the parser reports.
func firstError(path string, src []byte, err error) string {
	var list scanner.ErrorList
	if !errors.As(err, &list) || len(list) == 0 {
		return path + ": " + err.Error()
	}
	first := slices.MinFunc(list, func(a, b *scanner.Error) int {
		return cmp.Compare(a.Pos.Offset, b.Pos.Offset)
	})
	before := src[:first.Pos.Offset]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("%s:%d:%d: %s", path, line, column, first.Msg)
}

// oneLine shortens a message to a line of a report. The parser quotes what it found, which can be a raw string of many lines,
// or bytes that are not UTF-8.
func oneLine(message string) string {
	const most = 500 // bytes
	first, _, cut := strings.Cut(message, "\n")
	if len(first) > most {
		first, cut = first[:most], true
	}
	first = strings.ToValidUTF8(first, "\uFFFD")
	if cut {
		first += "…"
	}
	return first
}

// addFunc counts a function or method declaration.
func (s *Stats) addFunc(path string, file *token.File, decl *ast.FuncDecl) {
	s.Funcs++
	if isTest(path, decl) {
		s.Tests++
	}
	// Positions in the file, without regard to //line comments.
	first := file.PositionFor(decl.Pos(), false).Line
	last := file.PositionFor(decl.End()-1, false).Line
	s.Longest = longest(append(s.Longest, Func{funcName(decl), path, first, last - first + 1}))
}

// isTest reports whether go test runs the function as a test, by its name.
func isTest(path string, decl *ast.FuncDecl) bool {
	rest, found := strings.CutPrefix(decl.Name.Name, "Test")
	if !found || rest == "Main" || decl.Recv != nil || !strings.HasSuffix(path, "_test.go") {
		return false
	}
	next, _ := utf8.DecodeRuneInString(rest) // RuneError, which is not a lower case letter, for a plain "Test"
	return !unicode.IsLower(next)
}

// funcName returns a function's name, and Type.Method for a method, whatever stars, parentheses and
// type parameters the receiver has.
func funcName(decl *ast.FuncDecl) string {
	if decl.Recv == nil || len(decl.Recv.List) == 0 {
		return decl.Name.Name
	}
	receiver := decl.Recv.List[0].Type
	for {
		switch r := receiver.(type) {
		case *ast.Ident:
			return r.Name + "." + decl.Name.Name
		case *ast.StarExpr:
			receiver = r.X
		case *ast.ParenExpr:
			receiver = r.X
		case *ast.IndexExpr:
			receiver = r.X
		case *ast.IndexListExpr:
			receiver = r.X
		default: // func (struct{}) M() parses, but does not compile
			return decl.Name.Name
		}
	}
}

// addImport adds a path that the file imports. Importing the same path again has no effect.
func (s *Stats) addImport(spec *ast.ImportSpec) {
	path, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		path = spec.Path.Value
	}
	if s.Imports == nil {
		s.Imports = make(map[string]int)
	}
	s.Imports[strings.ToValidUTF8(path, "\uFFFD")] = 1 // the path "\xff" parses
}
