package deps

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// emptyNames are names that do not say what a file or a package is for.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "manager"}

func checkFilename(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		stem, _, _ := strings.Cut(strings.TrimSuffix(path.Base(f.path), ".go"), "_")
		for _, name := range []string{stem, path.Base(f.dir)} {
			if slices.Contains(emptyNames, name) {
				faults = append(faults, fault{file: f.path, message: fmt.Sprintf("the name %q does not say what is"+
					" in it: name it after its main type, or after the step that it implements", name)})
			}
		}
	}
	return faults
}

// unfinished finds the usual marks of unfinished work. (Spelled so that it does not find itself.)
var unfinished = regexp.MustCompile(`\b(TO[D]O|FIX[M]E|XX[X])\b`)

func checkMark(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		for _, group := range f.syntax.Comments {
			for _, comment := range group.List {
				if mark := unfinished.FindString(comment.Text); mark != "" {
					faults = append(faults, f.fault(comment, mark, mark+": do it now, or open an issue and"+
						" let the comment say what the code does today"))
				}
			}
		}
	}
	return faults
}
