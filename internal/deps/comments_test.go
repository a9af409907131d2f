package deps

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

func checkPackageDoc(t *tree) []fault {
	var faults []fault
	for dir, files := range t.packages() {
		files = slices.DeleteFunc(slices.Clone(files), (*file).test)
		if len(files) == 0 {
			continue
		}
		where, beginsWith := "doc.go", "Package "+files[0].syntax.Name.Name+" "
		if files[0].program() {
			where, beginsWith = "main.go or doc.go", ""
		}
		documented := func(f *file) bool {
			return strings.Contains(where, path.Base(f.path)) && f.syntax.Doc != nil &&
				strings.HasPrefix(f.syntax.Doc.Text(), beginsWith)
		}
		if !slices.ContainsFunc(files, documented) {
			faults = append(faults, fault{file: path.Join(dir, "doc.go"), message: fmt.Sprintf("%s has no"+
				" package comment in %s: say what the package is for, its main types, who owns them, their"+
				" locks, and what it does not do", dir, where)})
		}
	}
	return faults
}

// plainMethods mean the same on every type, so they need no comment.
var plainMethods = []string{"Error", "Is", "String", "Unwrap", "Len", "Less", "Swap"}

func checkExported(t *tree) []fault {
	var faults []fault
	for _, f := range t.sources() {
		if f.program() {
			continue
		}
		for _, bare := range undocumented(f) {
			faults = append(faults, f.fault(bare.node, bare.owner, bare.owner+" is exported and has no"+
				" comment: say what it does, units, errors, and, where it matters, what happens on cancel,"+
				" on a second call and on concurrent use"))
		}
	}
	return faults
}

// undocumented returns the exported declarations of f that have no comment.
func undocumented(f *file) []use {
	var bare []use
	for _, decl := range f.syntax.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if exportedFunction(d) && d.Doc == nil {
				bare = append(bare, use{owner: declName(d), node: d})
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				bare = append(bare, undocumentedSpec(d, spec)...)
			}
		}
	}
	return bare
}

// exportedFunction reports whether callers outside of the package can name d, and need a comment.
func exportedFunction(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return d.Name.IsExported()
	}
	return d.Name.IsExported() && ast.IsExported(baseType(d.Recv.List[0].Type)) &&
		!slices.Contains(plainMethods, d.Name.Name)
}

// undocumentedSpec looks at one type, or at one line of constants or variables. The comment of a group counts for each of
// its lines.
func undocumentedSpec(group *ast.GenDecl, spec ast.Spec) []use {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		var bare []use
		if s.Name.IsExported() {
			if s.Doc == nil && s.Comment == nil && group.Doc == nil {
				bare = append(bare, use{owner: s.Name.Name, node: s})
			}
			bare = append(bare, undocumentedMembers(s)...)
		}
		return bare
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && s.Doc == nil && s.Comment == nil && group.Doc == nil {
				return []use{{owner: name.Name, node: s}}
			}
		}
	}
	return nil
}

// undocumentedMembers looks at what a user implements or sets: the methods of an interface, and the fields of a Config.
// The only method of an interface needs no comment beside that of the type.
func undocumentedMembers(s *ast.TypeSpec) []use {
	var members *ast.FieldList
	switch typ := s.Type.(type) {
	case *ast.InterfaceType:
		if typ.Methods.NumFields() > 1 {
			members = typ.Methods
		}
	case *ast.StructType:
		if strings.HasSuffix(s.Name.Name, "Config") {
			members = typ.Fields
		}
	}
	if members == nil {
		return nil
	}
	var bare []use
	for _, field := range members.List {
		for _, name := range field.Names {
			plain := slices.Contains(plainMethods, name.Name)
			if name.IsExported() && !plain && field.Doc == nil && field.Comment == nil {
				bare = append(bare, use{owner: s.Name.Name + "." + name.Name, node: field})
			}
		}
	}
	return bare
}
