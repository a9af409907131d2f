package deps

import (
	"go/ast"
	"slices"
)

// checkSleep covers tests and other modules too. A user's function that has to be slow, in a test or
// a benchmark, is a case for exceptions.
func checkSleep(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		for _, use := range f.uses("time", "Sleep") {
			faults = append(faults, f.fault(use.node, use.owner, use.owner+" sleeps: wait for the event"+
				" itself, on a channel, a context or synctest.Wait; for a delay, wait on a timer and on"+
				" ctx.Done() together"))
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
				faults = append(faults, f.fault(n, owner, owner+" skips: make what it needs, or fail and"+
					" say what is missing; put what belongs to one platform behind a build tag"))
			}
		})
	}
	return faults
}

// testerNames returns the names that f gives to a testing.TB, *testing.T, *testing.B or *testing.F,
// as parameter, field or variable.
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

// lastName is t of both t and s.t.
func lastName(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
