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
		where, begins := "doc.go", "Package "+files[0].syntax.Name.Name+" "
		if files[0].program() {
			where, begins = "main.go or doc.go", ""
		}
		documented := func(f *file) bool {
			return strings.Contains(where, path.Base(f.path)) && f.syntax.Doc != nil &&
				strings.HasPrefix(f.syntax.Doc.Text(), begins)
		}
		if !slices.ContainsFunc(files, documented) {
			faults = append(faults, fault{file: path.Join(dir, "doc.go"), says: fmt.Sprintf("%s lacks its"+
				" package comment in %s: say what the room is for, its three or four nouns, what it"+
				" promises and what not", dir, where)})
		}
	}
	return faults
}

// plainMethods mean the same on every type and need no comment of their own.
var plainMethods = []string{"Error", "Is", "String", "Unwrap", "Len", "Less", "Swap"}

func checkExported(t *tree) []fault {
	var faults []fault
	for _, f := range t.sources() {
		if f.program() {
			continue
		}
		for _, bare := range undocumented(f) {
			faults = append(faults, f.fault(bare.node, bare.owner, bare.owner+" is exported and has no"+
				" comment: state what it does, units, errors, and what happens on cancel, on repeat and on"+
				" concurrent use, where that is a question"))
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

// exportedFunction tells whether callers outside can name d, and want its comment.
func exportedFunction(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return d.Name.IsExported()
	}
	return d.Name.IsExported() && ast.IsExported(baseType(d.Recv.List[0].Type)) &&
		!slices.Contains(plainMethods, d.Name.Name)
}

// undocumentedSpec looks at one type, or at one line of constants or variables, which the comment of
// their group may cover.
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

// undocumentedMembers looks into what a user implements or fills in: the methods of an interface,
// unless there is only the one that the type's comment is about, and the fields of a Config.
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
