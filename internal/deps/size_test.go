package deps

import (
	"cmp"
	"fmt"
	"go/ast"
	"math"
	"slices"
	"strings"
)

// The budgets. Lines count everything between the first and the last, comments and blanks too.
const (
	longestFile     = 500 // lines
	medianFile      = 150 // lines: the median stays under it
	longestFunction = 70  // lines
	decileFunction  = 30  // lines: the ninth decile stays under it
	mostParameters  = 4   // after ctx
	mostMethods     = 7   // of an interface, without what it embeds
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
			faults = append(faults, fault{file: f.path, says: fmt.Sprintf("%d lines, at most %d:"+
				" make it one file for each step of the story, each named by its step", f.lines, longestFile)})
		}
	}
	if median, longest := quantile(all, 0.5); median >= medianFile {
		faults = append(faults, fault{name: "median file", says: fmt.Sprintf("the median file has %d"+
			" lines and stays under %d: split the longest (%s)", median, medianFile, longest)})
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
					" let it read as the steps of its story, each a function", name, lines, longestFunction)))
			}
		}
	}
	if decile, longest := quantile(all, 0.9); decile >= decileFunction {
		faults = append(faults, fault{name: "ninth decile function", says: fmt.Sprintf("the ninth"+
			" decile of functions has %d lines and stays under %d: split the longest (%s)",
			decile, decileFunction, longest)})
	}
	return faults
}

// sized is a file or a function and its number of lines.
type sized struct {
	name  string
	lines int
}

// quantile returns the smallest size that the fraction q of all stays within, and a list of the
// longest. It sorts all.
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
						" at most %d: pass one struct, or give some of them to the receiver",
						owner, count, mostParameters)))
				}
			case *ast.InterfaceType:
				if count := methods(n); count > mostMethods {
					faults = append(faults, f.fault(n, owner, fmt.Sprintf("%s has %d methods, at most %d:"+
						" ask for less, or make it several interfaces, one for each caller's need",
						owner, count, mostMethods)))
				}
			}
		})
	}
	return faults
}

// parameters counts what a function takes, without a leading context.Context.
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
