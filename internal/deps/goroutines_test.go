package deps

import (
	"fmt"
	"go/ast"
	"io/fs"
	"regexp"
	"strings"
)

// goroutineList has one table row for each function that starts goroutines:
//
//	| `queues/pull.go` `(*puller).run` | who waits for it | when it ends |
//
// Only the first cell is read here.
const goroutineList = "docs/goroutines.md"

var goroutineRow = regexp.MustCompile("^\\|\\s*`([^`]+\\.go)`\\s*`([^`]+)`")

// A starter is a function that starts goroutines.
type starter struct{ file, function string }

func (s starter) String() string { return fmt.Sprintf("`%s` `%s`", s.file, s.function) }

func checkGoroutine(t *tree) []fault {
	listed, faults := listedStarters(t)
	found := map[starter]bool{}
	for _, f := range t.files {
		if f.nested || f.test() {
			continue
		}
		f.walk(func(owner string, n ast.Node) {
			s := starter{f.path, owner}
			if !startsGoroutine(n) || found[s] {
				return
			}
			found[s] = true
			if listed[s] == 0 {
				faults = append(faults, f.fault(n, owner, fmt.Sprintf("%s starts a goroutine that %s does"+
					" not list: add a row | %v | who waits for it | when it ends |",
					owner, goroutineList, s)))
			}
		})
	}
	for s, line := range listed {
		if !found[s] {
			faults = append(faults, fault{goroutineList, line, s.String(), fmt.Sprintf(
				"%v starts no goroutine: correct or remove the row", s)})
		}
	}
	return faults
}

// listedStarters reads the list: each starter with the number of its line.
func listedStarters(t *tree) (map[starter]int, []fault) {
	text, err := fs.ReadFile(t.fsys, goroutineList)
	if err != nil {
		return nil, []fault{{file: goroutineList, message: "cannot be read: write a table with a row for" +
			" each function that starts goroutines, | `path/file.go` `(*T).name` | who waits for it |" +
			" when it ends |"}}
	}
	var faults []fault
	listed := map[starter]int{}
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := goroutineRow.FindStringSubmatch(line)
		if cells == nil {
			faults = append(faults, fault{goroutineList, i + 1, "", "the first cell of this row is not" +
				" of the form `path/file.go` `function`: correct it"})
			continue
		}
		listed[starter{cells[1], withoutTypeParameters(cells[2])}] = i + 1
	}
	return listed, faults
}

var typeParameters = regexp.MustCompile(`\[[^]]*\]`)

func withoutTypeParameters(function string) string {
	return typeParameters.ReplaceAllString(function, "")
}

// startsGoroutine reports whether n is a go statement or a call like that of a sync.WaitGroup's Go.
func startsGoroutine(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return true
	case *ast.CallExpr:
		selector, ok := n.Fun.(*ast.SelectorExpr)
		return ok && selector.Sel.Name == "Go" && len(n.Args) == 1
	}
	return false
}
