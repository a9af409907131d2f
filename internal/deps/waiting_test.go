package deps

import (
	"go/ast"
	"slices"
)

// checkSleep covers tests and other modules too. A test or benchmark with a function that must take time belongs into the
// list of exceptions.
func checkSleep(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		for _, use := range f.uses("time", "Sleep") {
			faults = append(faults, f.fault(use.node, use.owner, use.owner+" uses time.Sleep: wait for"+
				" the event itself, by a channel, a context or synctest.Wait; for a delay, wait for a timer"+
				" and ctx.Done() in one select"))
		}
	}
	return faults
}

func checkSkip(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		testers := testerNames(f)
		f.walk(func(owner string, n ast.Node) {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, selector.Sel.Name) {
				return
			}
			if testers[lastName(selector.X)] {
				faults = append(faults, f.fault(n, owner, owner+" skips a test: create what it needs, or"+
					" fail and say what is missing; put tests for one platform behind a build tag"))
			}
		})
	}
	return faults
}

// testerNames returns the names of parameters, fields and variables in f of type testing.TB, *testing.T, *testing.B or
// *testing.F.
func testerNames(f *file) map[string]bool {
	names := map[string]bool{}
	add := func(typ ast.Expr, idents []*ast.Ident) {
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		selector, ok := typ.(*ast.SelectorExpr)
		if !ok || !isIdent(selector.X, "testing") {
			return
		}
		if len(idents) == 0 {
			names[selector.Sel.Name] = true // embedded
		}
		for _, ident := range idents {
			names[ident.Name] = true
		}
	}
	f.walk(func(_ string, n ast.Node) {
		switch n := n.(type) {
		case *ast.Field:
			add(n.Type, n.Names)
		case *ast.ValueSpec:
			add(n.Type, n.Names)
		}
	})
	return names
}

// lastName returns t for both t and s.t.
func lastName(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
