package deps

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// layers says in which layer each package is, top first. A package imports packages of lower layers only: never of its
// own layer, never of a higher one.
//
// An implementation is a package that implements an interface of the package in whose folder it is. It imports that
// package, and what that package may import; only layer 7, programs and tests import it. (queues/embedded, which starts
// the server that queues connects to, and internal/telemetry, whose folder holds no package, follow the same rule.)
//
// "examples/*" stands for every folder below examples. A row may name a package that does not exist yet.
var layers = []layer{
	{number: 8, packages: []string{"examples", "examples/*", "cmd/*"}},
	{
		number:          7,
		packages:        []string{".", "engine/enginetest", "pipelines/pipelinestest"},
		implementations: []string{"internal/telemetry"},
	},
	{
		number:          6,
		packages:        []string{"pipelines"},
		implementations: []string{"pipelines/sources", "pipelines/sinks"},
	},
	{number: 5, packages: []string{"engine", "nodeagent"}},
	{number: 4, packages: []string{"engine/session"}},
	{number: 3, packages: []string{"engine/graph", "engine/directory", "engine/registry", "engine/lease", "engine/values", "pipelines/plan"}},
	{
		number:   2,
		packages: []string{"engine/task", "objstore"},
		implementations: []string{
			"objstore/memory", "objstore/jetstream", "objstore/disk", "objstore/shm", "objstore/peer",
		},
	},
	{number: 1, packages: []string{"queues"}, implementations: []string{"queues/embedded"}},
	{number: 0, packages: []string{"internal/invariant", "internal/faults", "internal/broken", "internal/failpoint", "internal/deps", "internal/arrowipc", "internal/mean", "internal/suggest", "internal/wait", "internal/platform"}},
}

// assemblyLayer is the lowest layer that chooses implementations and may import them.
const assemblyLayer = 7

// A layer is one row of the table. Packages and implementations are folders, relative to the repository's root.
type layer struct {
	number          int
	packages        []string
	implementations []string
}

// A place is where one package stands.
type place struct {
	dir            string
	layer          int
	implementation bool
	program        string // the folder of the program it is part of; empty below the top layer
}

// placeOf finds the place of the package in the folder dir.
func placeOf(dir string) (place, bool) {
	for _, row := range layers {
		for _, listed := range row.packages {
			if listed == dir {
				return place{dir: dir, layer: row.number}, true
			}
			if group, ok := strings.CutSuffix(listed, "*"); ok && strings.HasPrefix(dir, group) {
				program, _, _ := strings.Cut(dir[len(group):], "/")
				return place{dir: dir, layer: row.number, program: group + program}, true
			}
		}
		if slices.Contains(row.implementations, dir) {
			return place{dir: dir, layer: row.number, implementation: true}, true
		}
	}
	return place{}, false
}

func (p place) String() string {
	if p.dir == "." {
		return fmt.Sprintf("the root package (layer %d)", p.layer)
	}
	return fmt.Sprintf("%s (layer %d)", p.dir, p.layer)
}

func checkLayers(t *tree) []fault {
	var faults []fault
	reported := map[string]bool{}
	for _, f := range t.files {
		if f.nested {
			continue
		}
		from, ok := placeOf(f.dir)
		if !ok {
			if !reported[f.dir] {
				reported[f.dir] = true
				faults = append(faults, fault{file: f.path, message: f.dir +
					" is in no layer: move its code into a package that is in one, or add the package to the table in" +
					" internal/deps/layers_test.go and say why in docs/decisions"})
			}
			continue
		}
		faults = append(faults, importFaults(f, from)...)
	}
	return faults
}

// importFaults reports the imports of f that do not lead to a lower layer.
func importFaults(f *file, from place) []fault {
	var faults []fault
	for _, spec := range f.imports {
		dir, ok := folderOf(spec.path)
		if !ok || f.external() {
			continue
		}
		to, ok := placeOf(dir)
		if !ok {
			continue // reported by the check of that package
		}
		if message := wrongImport(from, to, f.test()); message != "" {
			faults = append(faults, fault{file: f.path, line: spec.line, name: dir, message: message})
		}
	}
	return faults
}

// folderOf returns the folder of an imported package of this module.
func folderOf(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// wrongImport returns what is wrong with from importing to, or "" if nothing is. An inner test is a test in the package
// itself.
func wrongImport(from, to place, innerTest bool) string {
	imports := fmt.Sprintf("%v imports %v", from, to)
	switch {
	case to.layer < from.layer && !to.implementation:
		return ""
	case to.implementation && (innerTest || from.layer >= assemblyLayer && !from.implementation):
		return ""
	case from.implementation && to.dir == path.Dir(from.dir):
		return ""
	case from.program != "" && from.program == to.program:
		return ""
	case innerTest:
		return imports + ": only a test outside of the package may import a package that is not in a lower layer; make it" +
			" package " + path.Base(from.dir) + "_test"
	case to.implementation:
		return imports + ", an implementation: take the interface as an argument, and let the root package, a program or" +
			" a test kit choose the implementation"
	case to.layer == from.layer:
		return imports + ", which is in the same layer: move what both need to a lower layer, or join the two in a higher" +
			" one"
	}
	return imports + ", which is in a higher layer: take what is needed as an argument or behind a small interface, or" +
		" move it to a lower layer"
}
