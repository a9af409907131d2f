package deps

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// module is the path of the root module, as in go.mod.
const module = "github.com/tidemill/tidemill"

// A tree is the Go source of a repository.
type tree struct {
	fsys  fs.FS // the repository's root, for files other than Go source
	files []*file
}

// A file is one Go file, parsed.
type file struct {
	path   string // from the repository's root, with slashes
	dir    string // its package's folder; "." is the root package's
	lines  int
	nested bool // it belongs to another module of this repository, such as bench

	fset      *token.FileSet
	syntax    *ast.File
	imports   []importSpec
	generated bool
}

// An importSpec is one import of a file.
type importSpec struct {
	path string
	name string // as the file calls it
	line int
}

// loadTree parses every Go file below the root of fsys, except what the go command leaves out:
// testdata, vendor, and names that begin with a dot or an underscore.
func loadTree(fsys fs.FS) (*tree, error) {
	t := &tree{fsys: fsys}
	var nested []string // folders of other modules, outermost first
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && leftOut(name):
			return fs.SkipDir
		case entry.IsDir():
			if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil && name != "." {
				nested = append(nested, name+"/")
			}
			return nil
		case path.Ext(name) != ".go" || leftOut(name):
			return nil
		}
		f, err := parseFile(fsys, name)
		if err != nil {
			return err
		}
		for _, dir := range nested {
			f.nested = f.nested || strings.HasPrefix(name, dir)
		}
		t.files = append(t.files, f)
		return nil
	})
	return t, err
}

// leftOut reports whether the go command ignores a file or folder of this name.
func leftOut(name string) bool {
	base := path.Base(name)
	return base == "testdata" || base == "vendor" || name != "." && strings.ContainsAny(base[:1], "._")
}

func parseFile(fsys fs.FS, name string) (*file, error) {
	source, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &file{
		path:      name,
		dir:       path.Dir(name),
		lines:     bytes.Count(source, []byte("\n")),
		fset:      fset,
		syntax:    syntax,
		generated: ast.IsGenerated(syntax),
	}
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		called := path.Base(imported)
		if spec.Name != nil {
			called = spec.Name.Name
		}
		f.imports = append(f.imports, importSpec{imported, called, f.line(spec)})
	}
	return f, nil
}

// packages returns the files by the folder of their package.
func (t *tree) packages() map[string][]*file {
	byDir := map[string][]*file{}
	for _, f := range t.files {
		byDir[f.dir] = append(byDir[f.dir], f)
	}
	return byDir
}

// sources returns the files that the limits apply to: neither tests nor generated files.
func (t *tree) sources() []*file {
	var sources []*file
	for _, f := range t.files {
		if !f.test() && !f.generated {
			sources = append(sources, f)
		}
	}
	return sources
}

func (f *file) test() bool { return strings.HasSuffix(f.path, "_test.go") }

// external reports whether f is a test in a package of its own, as package x_test is.
func (f *file) external() bool { return f.test() && strings.HasSuffix(f.syntax.Name.Name, "_test") }

// program reports whether f belongs to a command.
func (f *file) program() bool { return f.syntax.Name.Name == "main" }

func (f *file) line(n ast.Node) int { return f.fset.Position(n.Pos()).Line }

// length is the number of lines that n spans.
func (f *file) length(n ast.Node) int { return f.fset.Position(n.End()).Line - f.line(n) + 1 }

// fault returns the fault of n, which belongs to the declaration called name.
func (f *file) fault(n ast.Node, name, message string) fault {
	return fault{file: f.path, line: f.line(n), name: name, message: message}
}

// walk visits every node, with the name of the top-level declaration it belongs to.
func (f *file) walk(visit func(owner string, n ast.Node)) {
	for _, decl := range f.syntax.Decls {
		owner := declName(decl)
		ast.Inspect(decl, func(n ast.Node) bool {
			if n != nil {
				visit(owner, n)
			}
			return true
		})
	}
}

// uses finds the places where f names one of the given identifiers of an imported package.
func (f *file) uses(imported string, identifiers ...string) []use {
	called := ""
	for _, spec := range f.imports {
		if spec.path == imported {
			called = spec.name
		}
	}
	if called == "" {
		return nil
	}
	var uses []use
	f.walk(func(owner string, n ast.Node) {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok || !isIdent(selector.X, called) {
			return
		}
		for _, identifier := range identifiers {
			if selector.Sel.Name == identifier {
				uses = append(uses, use{owner, identifier, selector})
			}
		}
	})
	return uses
}

// A use is one place where a file names an identifier of a package it imports.
type use struct {
	owner      string // the top-level declaration around it
	identifier string
	node       ast.Node
}

// declName returns the name of a top-level declaration: run, (*puller).run, puller.run; that of its first type or variable
// for a group.
func declName(decl ast.Decl) string {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			return d.Name.Name
		}
		receiver := d.Recv.List[0].Type
		name := baseType(receiver)
		if _, pointer := receiver.(*ast.StarExpr); pointer {
			name = "(*" + name + ")"
		}
		return name + "." + d.Name.Name
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				return s.Name.Name
			case *ast.ValueSpec:
				return s.Names[0].Name
			}
		}
	}
	return ""
}

// baseType returns the name of a receiver's type: puller for *puller[K, V].
func baseType(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return baseType(e.X)
	case *ast.ParenExpr:
		return baseType(e.X)
	case *ast.IndexExpr:
		return baseType(e.X)
	case *ast.IndexListExpr:
		return baseType(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func isIdent(expr ast.Expr, name string) bool {
	ident, ok := expr.(*ast.Ident)
	return ok && ident.Name == name
}
