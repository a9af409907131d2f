package deps

import (
	"cmp"
	"fmt"
	"go/ast"
	"math"
	"slices"
	"strings"
)

// The limits. Comments and blank lines count as lines.
const (
	longestFile     = 500 // lines
	medianFile      = 150 // lines; the median is below it
	longestFunction = 70  // lines
	decileFunction  = 30  // lines; the ninth decile is below it
	mostParameters  = 4   // after ctx
	mostMethods     = 7   // that an interface lists, without those of interfaces that it embeds
	mostFields      = 24  // of a struct; an embedded type counts as one
)

func checkSize(t *tree) []fault {
	return append(fileSizes(t.sources()), functionSizes(t.sources())...)
}

func fileSizes(sources []*file) []fault {
	var faults []fault
	var all []sized
	for _, f := range sources {
		all = append(all, sized{f.path, f.lines})
		if f.lines > longestFile {
			faults = append(faults, fault{file: f.path, message: fmt.Sprintf("%d lines, at most %d:"+
				" split it into a file for each step, named after the step", f.lines, longestFile)})
		}
	}
	if median, longest := quantile(all, 0.5); median >= medianFile {
		faults = append(faults, fault{name: "median file", message: fmt.Sprintf("the median file has %d"+
			" lines, want fewer than %d: split the longest (%s)", median, medianFile, longest)})
	}
	return faults
}

func functionSizes(sources []*file) []fault {
	var faults []fault
	var all []sized
	for _, f := range sources {
		for _, decl := range f.syntax.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name, lines := declName(function), f.length(function)
			all = append(all, sized{f.path + " " + name, lines})
			if lines > longestFunction {
				faults = append(faults, f.fault(function, name, fmt.Sprintf("%s has %d lines, at most %d:"+
					" split it into its steps, each a function", name, lines, longestFunction)))
			}
		}
	}
	if decile, longest := quantile(all, 0.9); decile >= decileFunction {
		faults = append(faults, fault{name: "ninth decile function", message: fmt.Sprintf("the ninth"+
			" decile of functions has %d lines, want fewer than %d: split the longest (%s)",
			decile, decileFunction, longest)})
	}
	return faults
}

// sized is a file or a function with its number of lines.
type sized struct {
	name  string
	lines int
}

// quantile returns the smallest number of lines that the fraction q of all does not exceed, and a list of the longest. It
// sorts all.
func quantile(all []sized, q float64) (lines int, longest string) {
	if len(all) == 0 {
		return 0, ""
	}
	slices.SortStableFunc(all, func(a, b sized) int { return cmp.Compare(a.lines, b.lines) })
	within := int(math.Ceil(q * float64(len(all))))
	var names []string
	for _, s := range slices.Backward(all[max(len(all)-5, 0):]) {
		names = append(names, fmt.Sprintf("%s: %d", s.name, s.lines))
	}
	return all[within-1].lines, strings.Join(names, ", ")
}

func checkSignature(t *tree) []fault {
	var faults []fault
	for _, f := range t.sources() {
		f.walk(func(owner string, n ast.Node) {
			switch n := n.(type) {
			case *ast.FuncType:
				if count := parameters(n); count > mostParameters {
					faults = append(faults, f.fault(n, owner, fmt.Sprintf("%s has %d parameters after ctx,"+
						" at most %d: pass a struct, or make some of them fields of the receiver",
						owner, count, mostParameters)))
				}
			case *ast.InterfaceType:
				if count := methods(n); count > mostMethods {
					faults = append(faults, f.fault(n, owner, fmt.Sprintf("%s has %d methods, at most %d:"+
						" split it into several interfaces, each with what one caller needs",
						owner, count, mostMethods)))
				}
			}
		})
	}
	return faults
}

// parameters counts the parameters of a function, without a leading context.Context.
func parameters(function *ast.FuncType) int {
	count := function.Params.NumFields()
	if count == 0 {
		return 0
	}
	first, ok := function.Params.List[0].Type.(*ast.SelectorExpr)
	if ok && isIdent(first.X, "context") && first.Sel.Name == "Context" {
		count--
	}
	return count
}

// methods counts the methods that an interface lists by name.
func methods(contract *ast.InterfaceType) int {
	count := 0
	for _, field := range contract.Methods.List {
		count += len(field.Names)
	}
	return count
}

// checkFields limits the fields of structs. A struct with too many of them has several jobs and hides which lock guards
// what.
func checkFields(t *tree) []fault {
	var faults []fault
	for _, f := range t.sources() {
		named := map[ast.Expr]string{} // structs that a type declaration names
		f.walk(func(owner string, n ast.Node) {
			switch n := n.(type) {
			case *ast.TypeSpec:
				named[n.Type] = n.Name.Name
			case *ast.StructType:
				name := cmp.Or(named[n], owner)
				if count := fields(n); count > mostFields {
					faults = append(faults, f.fault(n, name, fmt.Sprintf("%s has %d fields, at most %d: split it into"+
						" types that each own a part of the state, with the lock that guards it", name, count, mostFields)))
				}
			}
		})
	}
	return faults
}

// fields counts the fields of a struct, an embedded type as one.
func fields(s *ast.StructType) int {
	count := 0
	for _, field := range s.Fields.List {
		count += max(1, len(field.Names))
	}
	return count
}
