package main

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tidemill/tidemill/engine"
)

// Source counts a file, a directory, or all files.
type Source struct {
	Files, Lines, Funcs int
}

func (s *Source) add(other Source) {
	s.Files += other.Files
	s.Lines += other.Lines
	s.Funcs += other.Funcs
}

// ParseFile and SumDir are the functions of the job, like those of examples/srcstats.
var (
	ParseFile = engine.NewFunc("bench-parse", func(_ context.Context, path string) (Source, error) { return parseFile(path) })
	SumDir    = engine.NewFunc("bench-sum", func(_ context.Context, parts []Source) (Source, error) { return sumDir(parts), nil })
)

// parseFile parses a Go file and counts its lines and functions. Of a file with syntax errors, it counts only the lines.
func parseFile(path string) (Source, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Source{}, err
	}
	s := Source{Files: 1, Lines: bytes.Count(text, []byte("\n"))}
	tree, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return s, nil //nolint:nilerr // not a failure: the tests of the parser have such files
	}
	for _, decl := range tree.Decls {
		if _, ok := decl.(*ast.FuncDecl); ok {
			s.Funcs++
		}
	}
	return s, nil
}

func sumDir(parts []Source) Source {
	var sum Source
	for _, part := range parts {
		sum.add(part)
	}
	return sum
}

// goFiles lists the Go files in folders of GOROOT/src.
func goFiles(ctx context.Context, dirs []string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	var files []string
	for _, dir := range dirs {
		root := filepath.Join(strings.TrimSpace(string(out)), "src", dir)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && filepath.Ext(path) == ".go" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
