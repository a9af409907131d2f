package deps

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// emptyNames say nothing about what a file or a package is for.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "manager"}

func checkFilename(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		stem, _, _ := strings.Cut(strings.TrimSuffix(path.Base(f.path), ".go"), "_")
		for _, name := range []string{stem, path.Base(f.dir)} {
			if slices.Contains(emptyNames, name) {
				faults = append(faults, fault{file: f.path, says: fmt.Sprintf("%q says nothing: name it by"+
					" its step of the story, or by its main type", name)})
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
					faults = append(faults, f.fault(comment, mark, mark+": do it now, or write an issue and"+
						" let the comment say what holds today"))
				}
			}
		}
	}
	return faults
}
