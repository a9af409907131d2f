package deps

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// tower says on which floor each package stands, top first. A package imports lower floors only,
// never sideways, never up.
//
// A shelf is a part of the room whose folder it is in. It imports what its room may import, and the
// room itself; only floor 7, programs and tests import it. (queues/embedded, which starts what its
// room talks to, and internal/telemetry, which has no room, keep to the same rule.)
//
// "examples/*" stands for every folder below examples. A row may be ahead of its package.
var tower = []floor{
	{number: 8, rooms: []string{"examples/*", "cmd/*"}},
	{
		number:  7,
		rooms:   []string{".", "engine/enginetest", "pipelines/pipelinestest"},
		shelves: []string{"internal/telemetry"},
	},
	{
		number:  6,
		rooms:   []string{"pipelines"},
		shelves: []string{"pipelines/sources", "pipelines/sinks"},
	},
	{number: 5, rooms: []string{"engine", "nodeagent"}},
	{number: 4, rooms: []string{"engine/session"}},
	{number: 3, rooms: []string{"engine/graph", "engine/directory", "engine/registry", "engine/lease", "engine/values", "pipelines/plan"}},
	{
		number: 2,
		rooms:  []string{"engine/task", "objstore"},
		shelves: []string{
			"objstore/memory", "objstore/jetstream", "objstore/disk", "objstore/shm", "objstore/peer",
		},
	},
	{number: 1, rooms: []string{"queues"}, shelves: []string{"queues/embedded"}},
	{number: 0, rooms: []string{"internal/invariant", "internal/faults", "internal/broken", "internal/failpoint", "internal/deps", "internal/arrowipc", "internal/mean", "internal/suggest", "internal/wait"}},
}

// assemblyFloor is where the parts are chosen and put together: it and what is above import shelves.
const assemblyFloor = 7

// A floor is one row of the tower. Its rooms and shelves are folders from the repository's root.
type floor struct {
	number  int
	rooms   []string
	shelves []string
}

// A place is where one package stands.
type place struct {
	dir     string
	floor   int
	shelf   bool
	program string // the folder of the program it is part of; empty below the top floor
}

// placeOf finds the place of the package in the folder dir.
func placeOf(dir string) (place, bool) {
	for _, row := range tower {
		for _, room := range row.rooms {
			if room == dir {
				return place{dir: dir, floor: row.number}, true
			}
			if group, ok := strings.CutSuffix(room, "*"); ok && strings.HasPrefix(dir, group) {
				program, _, _ := strings.Cut(dir[len(group):], "/")
				return place{dir: dir, floor: row.number, program: group + program}, true
			}
		}
		if slices.Contains(row.shelves, dir) {
			return place{dir: dir, floor: row.number, shelf: true}, true
		}
	}
	return place{}, false
}

func (p place) String() string {
	if p.dir == "." {
		return fmt.Sprintf("the root package (floor %d)", p.floor)
	}
	return fmt.Sprintf("%s (floor %d)", p.dir, p.floor)
}

func checkFloors(t *tree) []fault {
	var faults []fault
	homeless := map[string]bool{}
	for _, f := range t.files {
		if f.nested {
			continue
		}
		from, ok := placeOf(f.dir)
		if !ok {
			if !homeless[f.dir] {
				homeless[f.dir] = true
				faults = append(faults, fault{file: f.path, says: f.dir +
					" has no floor: put its code into a room of the tower, or give it a floor in" +
					" internal/deps/floors_test.go and say why in docs/decisions"})
			}
			continue
		}
		faults = append(faults, importFaults(f, from)...)
	}
	return faults
}

// importFaults reports the imports of f that do not lead down.
func importFaults(f *file, from place) []fault {
	var faults []fault
	for _, spec := range f.imports {
		dir, ok := folderOf(spec.path)
		if !ok || f.external() {
			continue
		}
		to, ok := placeOf(dir)
		if !ok {
			continue // reported where that package stands
		}
		if says := climbs(from, to, f.test()); says != "" {
			faults = append(faults, fault{file: f.path, line: spec.line, name: dir, says: says})
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

// climbs returns what is wrong with from importing to, or "" if nothing is. An inner test is a test
// in the package itself.
func climbs(from, to place, innerTest bool) string {
	imports := fmt.Sprintf("%v imports %v", from, to)
	switch {
	case to.floor < from.floor && !to.shelf:
		return ""
	case to.shelf && (innerTest || from.floor >= assemblyFloor && !from.shelf):
		return ""
	case from.shelf && to.dir == path.Dir(from.dir):
		return ""
	case from.program != "" && from.program == to.program:
		return ""
	case innerTest:
		return imports + ": only a test outside of the package may look up, so make it package " +
			path.Base(from.dir) + "_test"
	case to.shelf:
		return imports + ", a shelf: take the interface of its room as an argument, and let the" +
			" root package, a program or a test kit choose"
	case to.floor == from.floor:
		return imports + ", sideways: move what both need to a lower floor, or join the two on a" +
			" higher one"
	}
	return imports + ", upwards: take what is needed as an argument or behind a small interface," +
		" or move it to a lower floor"
}
