package deps

import (
	"slices"
	"strings"
)

// natsRooms may import NATS modules; everybody else sends messages through queues.
var natsRooms = []string{"queues", "queues/embedded", "objstore/jetstream"}

// bubbles is the one package of the server's that a test kit imports: its clock must be started outside
// of every bubble of virtual time.
const (
	bubbles  = "github.com/nats-io/nats-server/v2/server/ats"
	bubbling = "engine/enginetest"
)

// natsModules are the beginnings of the import paths of NATS modules.
var natsModules = []string{"github.com/nats-io/", "github.com/synadia-io/"}

func checkNATS(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		if f.nested || f.test() || slices.Contains(natsRooms, f.dir) {
			continue
		}
		for _, spec := range f.imports {
			ofNATS := func(prefix string) bool { return strings.HasPrefix(spec.path, prefix) }
			if slices.ContainsFunc(natsModules, ofNATS) && (spec.path != bubbles || f.dir != bubbling) {
				faults = append(faults, fault{f.path, spec.line, spec.path, f.dir + " imports " + spec.path +
					": only " + strings.Join(natsRooms, ", ") + " may; use a Queue, Log, Table or Topic of" +
					" package queues, and add there what it lacks"})
			}
		}
	}
	return faults
}

// environment are the functions that read it, by package.
var environment = map[string][]string{
	"os":      {"Getenv", "LookupEnv", "Environ", "ExpandEnv"},
	"syscall": {"Getenv", "Environ"},
}

// checkEnvironment lets programs and the root package read the environment, and tests, which may
// have to pass it on to a process they start.
func checkEnvironment(t *tree) []fault {
	var faults []fault
	for _, f := range t.files {
		if f.nested || f.test() || f.dir == "." || isProgram(f.dir) {
			continue
		}
		for imported, functions := range environment {
			for _, use := range f.uses(imported, functions...) {
				faults = append(faults, f.fault(use.node, use.owner, use.owner+" calls "+imported+"."+
					use.identifier+": only cmd, examples and the root package read the environment;"+
					" take the value as a field of Config"))
			}
		}
	}
	return faults
}

// isProgram tells whether the folder stands on the floor of programs.
func isProgram(dir string) bool {
	p, ok := placeOf(dir)
	return ok && p.program != ""
}
